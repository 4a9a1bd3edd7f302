"""A trained model on a person's photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from tiny_setup import MSRC21

from mmseg_encnet.engine import inference
from mmseg_encnet.engine.launch import load_config


class Painter:
    """Stands for a segmentor that predicts the same labels for every image."""

    def __init__(self, num_classes: int, labels: np.ndarray) -> None:
        self.classes = [str(index) for index in range(num_classes)]
        self.palette = [[index % 256, 0, index // 256] for index in range(num_classes)]
        self.labels = labels

    def predict(self, path) -> SegDataSample:
        sample = SegDataSample()
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(self.labels)[None])
        return sample


@pytest.mark.parametrize('num_classes, mode', [(2, 'P'), (256, 'P'), (300, 'I;16')])
def test_labels_survive_the_file(num_classes, mode, tmp_path):
    labels = np.linspace(0, num_classes - 1, 12 * 9).astype(np.int64).reshape(12, 9)
    painter = Painter(num_classes, labels)
    target = tmp_path / 'out' / 'below' / 'a.png'
    errors = list(inference.write_predictions(
        painter, [(tmp_path / 'a.jpg', target.relative_to(tmp_path / 'out'))], tmp_path / 'out'))
    assert errors == [None]
    picture = Image.open(target)
    assert picture.mode == mode
    assert (np.array(picture) == labels).all()
    if mode == 'P':
        assert (np.array(picture.convert('RGB')) == np.array(painter.palette)[labels]).all()


@pytest.mark.parametrize('prefix, nested', [('', True), ('', False), ('module.', True)])
@pytest.mark.parametrize('names', [None, ['one', 'two']])
def test_every_way_in_which_weights_are_saved(prefix, nested, names, tiny_options, tmp_path):
    cfg = load_config(str(MSRC21), tiny_options)
    torch.manual_seed(0)
    trained = MODELS.build(cfg.model)
    state = {prefix + key: value for key, value in trained.state_dict().items()
             if not key.startswith('auxiliary_head')}
    content = state
    if nested:
        content = dict(state_dict=state)
        if names:
            content['meta'] = dict(dataset_meta=dict(classes=names, palette=[[0, 0, 0], [1, 1, 1]]))
    torch.save(content, tmp_path / 'weights.pth')
    segmentor = inference.load_segmentor(cfg, str(tmp_path / 'weights.pth'), 'cpu')
    assert not segmentor.model.training
    assert torch.equal(segmentor.model.decode_head.se_layer.weight,
                       trained.decode_head.se_layer.weight)
    assert list(segmentor.classes[:2]) == (
        names if names and nested else ['building', 'grass'])

    Image.new('RGB', (50, 40), (200, 10, 10)).save(tmp_path / 'a.png')
    sample = segmentor.predict(tmp_path / 'a.png')
    assert sample.pred_sem_seg.data.shape == (1, 40, 50)
    assert sample.presence.shape == (21, )
