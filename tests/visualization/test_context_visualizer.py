"""Context sheets through the toolbox's visualizer."""

from __future__ import annotations

import mmcv
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.apis import MMSegInferencer
from mmseg.registry import MODELS, VISUALIZERS
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer
from tiny_setup import MSRC21

from mmseg_encnet.configuration.loading import load_config

META = dict(classes=['sky', 'sand', 'sea'], palette=[[90, 170, 250], [240, 220, 150], [20, 60, 99]])


@pytest.fixture
def visualizer(tmp_path) -> SegLocalVisualizer:
    built = VISUALIZERS.build(
        dict(
            type='ContextVisualizer',
            vis_backends=[dict(type='LocalVisBackend')],
            save_dir=str(tmp_path),
            name='visualizer',
        )
    )
    built.dataset_meta = META
    return built


def sample_of(height: int, width: int, predicted: bool = True) -> SegDataSample:
    sample = SegDataSample()
    labels = torch.arange(height * width).view(1, height, width) % 3
    sample.gt_sem_seg = PixelData(data=labels)
    if predicted:
        sample.pred_sem_seg = PixelData(data=labels.flip(-1))
        sample.presence = torch.tensor([0.9, 0.2, 0.5])
    return sample


def test_sheets_reach_backends_files_and_the_caller(visualizer, tmp_path):
    image = np.zeros((30, 40, 3), np.uint8)
    visualizer.add_datasample('val_a', image, sample_of(30, 40), step=7)
    sheet = visualizer.get_image()
    saved = mmcv.imread(tmp_path / 'vis_data' / 'vis_image' / 'val_a_7.png', channel_order='rgb')
    assert (saved == sheet).all()
    assert sheet.shape[1] > 1000

    sample = sample_of(30, 40)
    visualizer.add_datasample('a', image, sample, draw_gt=False, out_file=str(tmp_path / 'a.png'))
    assert mmcv.imread(tmp_path / 'a.png').shape[1] < sheet.shape[1]
    assert 'gt_sem_seg' in sample


def test_without_prediction_it_draws_as_the_toolbox_does(visualizer):
    image = np.zeros((30, 40, 3), np.uint8)
    visualizer.add_datasample('a', image, sample_of(30, 40, predicted=False), with_labels=False)
    ours = visualizer.get_image()
    stock = SegLocalVisualizer(name='stock')
    stock.dataset_meta = META
    stock.add_datasample('a', image, sample_of(30, 40, predicted=False), with_labels=False)
    assert (ours == stock.get_image()).all()


def test_inferencer(tiny_options, tmp_path):
    options = {'visualizer.type': 'ContextVisualizer', 'model.test_cfg.context_maps': True}
    cfg = load_config(str(MSRC21), dict(tiny_options, **options))
    meta = dict(classes=[str(index) for index in range(21)], palette=[[9, 9, 9]] * 21)
    state = MODELS.build(cfg.model).state_dict()
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=meta)), tmp_path / 'weights.pth')
    inferencer = MMSegInferencer(
        model=cfg, weights=str(tmp_path / 'weights.pth'), device='cpu', show_progress=False
    )
    result = inferencer(np.zeros((40, 50, 3), np.uint8), return_vis=True)
    # Image and prediction, and the maps of the context branch.
    assert result['visualization'].shape[1] > 1000
