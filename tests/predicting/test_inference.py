"""A trained model on a person's photographs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from tiny_setup import MSRC21

from mmseg_encnet import predicting as inference
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.datasets import MSRC21Dataset
from mmseg_encnet.errors import UserError


class Painter:
    """Stands for a segmentor that predicts the same labels for every image."""

    def __init__(self, num_classes: int, labels: np.ndarray) -> None:
        self.classes = [str(index) for index in range(num_classes)]
        self.palette = [[index % 256, 0, index // 256] for index in range(num_classes)]
        self.labels = labels

    def predict(self, image, context_maps=False) -> SegDataSample:
        sample = SegDataSample()
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(self.labels)[None])
        return sample


def predict_all(painter: Painter, entries: list, out_dir: Path, **options: bool) -> None:
    with inference.PredictionWriter(out_dir, painter, **options) as writer:
        assert not any(inference.write_predictions(painter, entries, writer))


def draw_video(path: Path, num_frames: int, size: tuple[int, int] = (64, 48)) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, size)
    for index in range(num_frames):
        writer.write(np.full((size[1], size[0], 3), 20 * index, np.uint8))
    writer.release()


@pytest.mark.parametrize('num_classes, mode', [(2, 'P'), (256, 'P'), (300, 'I;16')])
def test_labels_survive_the_file(num_classes, mode, tmp_path):
    labels = np.linspace(0, num_classes - 1, 12 * 9).astype(np.int64).reshape(12, 9)
    painter = Painter(num_classes, labels)
    entry = inference.ImageFile(tmp_path / 'a.jpg', Path('below', 'a.png'))
    predict_all(painter, [entry], tmp_path / 'out')
    picture = Image.open(tmp_path / 'out' / 'below' / 'a.png')
    assert picture.mode == mode
    assert (np.array(picture) == labels).all()
    if mode == 'P':
        assert (np.array(picture.convert('RGB')) == np.array(painter.palette)[labels]).all()


def test_a_video_is_a_series_of_frames_and_a_video(tmp_path):
    draw_video(tmp_path / 'clip.avi', 5)
    painter = Painter(2, np.eye(48, 64, dtype=np.int64))
    out_dir = tmp_path / 'out'
    entries = inference.find_inputs([tmp_path / 'clip.avi'], out_dir)
    assert [entry.num_pictures for entry in entries] == [5]
    predict_all(painter, entries, out_dir)
    frames = [f'clip/{index:06d}.png' for index in range(5)]
    written = sorted(str(path.relative_to(out_dir)) for path in out_dir.rglob('*.*'))
    assert written == [*frames, 'overlays/clip.mp4', 'predictions.jsonl']
    records = [json.loads(line) for line in (out_dir / 'predictions.jsonl').open()]
    assert [record['labels'] for record in records] == frames
    assert [record['time'] for record in records] == [0, 0.1, 0.2, 0.3, 0.4]
    overlay = inference.Video.open(out_dir / 'overlays' / 'clip.mp4', Path('clip'))
    assert (overlay.num_pictures, overlay.frame_rate) == (5, 10)
    pixels = [picture.rgb().mean() for picture in overlay.pictures()]
    # Half of each grey frame shows through.
    np.testing.assert_allclose(np.diff(pixels), 10, atol=3)


def test_an_interrupted_prediction_leaves_no_half_written_file(tmp_path):
    draw_video(tmp_path / 'clip.avi', 5)
    out_dir = tmp_path / 'out'
    out_dir.mkdir()
    (out_dir / 'predictions.jsonl').write_text('from before')
    painter = Painter(2, np.zeros((48, 64), np.int64))
    entries = inference.find_inputs([tmp_path / 'clip.avi'], out_dir)
    with pytest.raises(KeyboardInterrupt), inference.PredictionWriter(out_dir, painter) as writer:
        results = inference.write_predictions(painter, entries, writer)
        next(results)
        results.throw(KeyboardInterrupt)
    written = {str(path.relative_to(out_dir)) for path in out_dir.rglob('*.*')}
    assert written == {'clip/000000.png', 'predictions.jsonl'}
    assert (out_dir / 'predictions.jsonl').read_text() == 'from before'


@pytest.mark.parametrize(
    'entries, targets',
    [
        (['photos'], ['a.png', 'b/c.png']),
        (['photos/*'], ['a.png']),
        (['photos/**/*.jpg', 'photos/b/clip.avi'], ['a.png', 'b/c.png', 'clip']),
        (['photos/*/*'], ['b/c.png', 'b/clip']),
        (['ph*/b/*.jpg'], ['photos/b/c.png']),
        (['photos/**'], ['a.png', 'b/c.png', 'b/clip']),
        (['photos/b/c.jpg'], ['c.png']),
    ],
)
def test_inputs(entries, targets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ('photos/a.jpg', 'photos/b/c.jpg', 'photos/out/a.png', 'photos/notes.txt'):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
    draw_video(Path('photos/b/clip.avi'), 1)
    found = inference.find_inputs(entries, Path('photos/out'))
    assert [str(entry.target) for entry in found] == targets


def test_an_input_is_never_overwritten(tmp_path):
    (tmp_path / 'a.png').touch()
    with pytest.raises(UserError, match='overwritten'):
        inference.find_inputs([tmp_path], tmp_path)


@pytest.mark.parametrize('prefix, nested', [('', True), ('', False), ('module.', True)])
@pytest.mark.parametrize('named', [False, True])
def test_every_way_in_which_weights_are_saved(prefix, nested, named, tiny_options, tmp_path):
    cfg = load_config(str(MSRC21), tiny_options)
    torch.manual_seed(0)
    trained = MODELS.build(cfg.model)
    state = {
        prefix + key: value
        for key, value in trained.state_dict().items()
        if not key.startswith('auxiliary_head')
    }
    content = state
    if nested:
        content = dict(state_dict=state)
        if named:
            palette = [[index, 0, 0] for index in range(21)]
            content['meta'] = dict(
                dataset_meta=dict(classes=MSRC21Dataset.METAINFO['classes'], palette=palette)
            )
    torch.save(content, tmp_path / 'weights.pth')
    segmentor = inference.load_segmentor(cfg, str(tmp_path / 'weights.pth'), 'cpu')
    assert not segmentor.model.training
    assert torch.equal(
        segmentor.model.decode_head.se_layer.weight, trained.decode_head.se_layer.weight
    )
    assert list(segmentor.classes[:2]) == ['building', 'grass']
    assert (segmentor.palette[20] == [20, 0, 0]) == (nested and named)

    image = np.full((40, 50, 3), (10, 10, 200), np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    sample = segmentor.predict(tmp_path / 'a.png')
    assert sample.pred_sem_seg.data.shape == (1, 40, 50)
    assert sample.presence.shape == (21,)
    assert 'assignments' not in sample
    from_pixels = segmentor.predict(image, context_maps=True)
    assert torch.equal(from_pixels.seg_logits.data, sample.seg_logits.data)
    assert from_pixels.assignments.data.shape == (4, 40, 50)


CLASS_LISTS = {
    'other names in the checkpoint': (
        dict(classes=['sky', *MSRC21Dataset.METAINFO['classes'][1:]]),
        {},
        "class 0 is 'sky' there and 'building' in the config",
    ),
    'fewer in the checkpoint': (dict(classes=['a', 'b']), {}, '2 classes, of which there are 21'),
    'fewer in the config': (
        {},
        {'test_dataloader.dataset.metainfo.classes': ['a', 'b']},
        '21 classes.*names 2',
    ),
}


@pytest.mark.parametrize('name', CLASS_LISTS)
def test_class_lists_that_do_not_match(name, tiny_options, tmp_path):
    meta, options, words = CLASS_LISTS[name]
    cfg = load_config(str(MSRC21), dict(tiny_options, **options))
    state = MODELS.build(cfg.model).state_dict()
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=meta)), tmp_path / 'weights.pth')
    with pytest.raises(UserError, match=words):
        inference.load_segmentor(cfg, str(tmp_path / 'weights.pth'), 'cpu')


def test_classes_of_the_config_have_colours(tiny_options, tmp_path):
    """Those that the data set knows keep its colours, any others get some."""
    names = ['mine', 'grass', *(str(index) for index in range(2, 21))]
    cfg = load_config(
        str(MSRC21), dict(tiny_options, **{'test_dataloader.dataset.metainfo.classes': names})
    )
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'weights.pth')
    segmentor = inference.load_segmentor(cfg, str(tmp_path / 'weights.pth'), 'cpu')
    assert segmentor.classes == names
    assert list(segmentor.palette[1]) == list(MSRC21Dataset.METAINFO['palette'][1])
    assert len({tuple(rgb) for rgb in segmentor.palette}) == 21


def test_a_checkpoint_without_se_branch(tiny_options, tmp_path):
    cfg = load_config(str(MSRC21), dict(tiny_options, **{'model.decode_head.use_se_loss': False}))
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'weights.pth')
    with pytest.raises(UserError, match=r'no SE branch.*use_se_loss=False'):
        inference.load_segmentor(
            load_config(str(MSRC21), tiny_options), str(tmp_path / 'weights.pth'), 'cpu'
        )
    sample = inference.load_segmentor(cfg, str(tmp_path / 'weights.pth'), 'cpu').predict(
        np.zeros((40, 50, 3), np.uint8)
    )
    assert 'presence' not in sample
