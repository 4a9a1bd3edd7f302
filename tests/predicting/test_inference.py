"""Predict images and videos with a trained model."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine import fileio
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from tiny_setup import MSRC21

from mmseg_encnet import predicting
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.datasets import MSRC21Dataset
from mmseg_encnet.errors import UserError
from mmseg_encnet.models import ContextEncoderDecoder


class Painter:
    """A segmentor that predicts the same labels for every image."""

    device = torch.device('cpu')
    has_own_threads = False

    def __init__(
        self, num_classes: int, labels: np.ndarray, presence: list[float] | None = None
    ) -> None:
        self.classes = [str(index) for index in range(num_classes)]
        self.palette = [[index % 256, 0, index // 256] for index in range(num_classes)]
        self.labels = labels
        self.presence = presence

    def load(self, image) -> predicting.LoadedImage:
        pixels = image if isinstance(image, np.ndarray) else np.zeros((2, 3, 3), np.uint8)
        return predicting.LoadedImage(dict(img=pixels), [])

    def prepare(self, image) -> predicting.PreparedImage:
        return predicting.PreparedImage(image, torch.zeros(3, 2, 2), SegDataSample())

    def predict_batch(self, images, context_maps=False) -> list[SegDataSample]:
        for image in images:
            image.data_sample.pred_sem_seg = PixelData(data=torch.from_numpy(self.labels)[None])
            if self.presence is not None:
                image.data_sample.set_data(dict(presence=torch.tensor(self.presence)))
        return [image.data_sample for image in images]


def predict_all(painter: Painter, entries: list, out_dir: Path, **options: bool) -> None:
    with predicting.PredictionWriter(out_dir, painter, **options) as writer:
        assert not any(predicting.write_predictions(painter, entries, writer))


def draw_unsuitable_inputs(folder: Path) -> None:
    """Draw two images among ones that cannot be labelled, in alphabetical order."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(folder / 'a.png')
    Image.fromarray(np.dstack([pixels, pixels[..., 0]])).save(folder / 'channels.png')
    (folder / 'empty.png').touch()
    Image.fromarray(pixels).save(folder / 'large.png')
    Image.fromarray(np.resize(pixels, (4, 8000, 3))).save(folder / 'narrow.png')
    (folder / 'truncated.png').write_bytes((folder / 'a.png').read_bytes()[:2000])
    Image.fromarray(pixels).save(folder / 'z.png')


def draw_video(path: Path, num_frames: int, size: tuple[int, int] = (64, 48)) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, size)
    for index in range(num_frames):
        writer.write(np.full((size[1], size[0], 3), 20 * index, np.uint8))
    writer.release()


UNSUITABLE = {
    'channels.png': 'has 4 channels, but the model expects 3; convert the image.',
    'empty.png': 'cannot be decoded as an image',
    'large.png': 'of 60x80 pixels (height x width) needs more memory than is available; shrink it.',
    'narrow.png': 'of 4x8000 pixels (height x width) cannot be processed',
    'truncated.png': 'cannot be decoded as an image',
}


def test_unsuitable_images_do_not_end_a_prediction(run_tool, tiny_options, tmp_path, monkeypatch):
    cfg = load_config(str(MSRC21), tiny_options)
    checkpoint = tmp_path / 'tiny.pth'
    torch.save(MODELS.build(cfg.model).state_dict(), checkpoint)
    draw_unsuitable_inputs(tmp_path / 'in')
    test_step = ContextEncoderDecoder.test_step

    def allocate(self, data):
        if 'large' in data['data_samples'][0].img_path:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return test_step(self, data)

    monkeypatch.setattr(ContextEncoderDecoder, 'test_step', allocate)
    load = 'test_dataloader.dataset.pipeline.LoadImageFromFile'
    options = {f'{load}.color_type': 'unchanged', f'{load}.imdecode_backend': 'cv2'}
    result = run_tool(
        'infer', MSRC21, checkpoint, 'in', '--out-dir', 'out', options=dict(tiny_options, **options)
    )
    assert result.status == 1
    errors = [line for line in result.err.splitlines() if line.startswith('error: ')]
    for (name, reason), error in zip(UNSUITABLE.items(), errors, strict=True):
        assert f'in/{name} ' in error
        assert reason in error
    assert '2 of 7 images written' in result.out
    records = (tmp_path / 'out' / 'predictions.jsonl').read_text().splitlines()
    assert [json.loads(line)['labels'] for line in records] == ['a.png', 'z.png']


def test_labels_of_the_toolbox_without_all_scores(tiny_options, tmp_path):
    head = dict(_delete_=True, type='FCNHead', in_channels=64, in_index=3, channels=8)
    options = {key: value for key, value in tiny_options.items() if '.decode_head.' not in key}
    options |= {'model.type': 'EncoderDecoder', 'model.decode_head': dict(head, num_classes=21)}
    cfg = load_config(str(MSRC21), options)
    torch.manual_seed(0)
    stock = MODELS.build(cfg.model).eval()
    torch.nn.init.normal_(stock.decode_head.conv_seg.weight)
    torch.save(stock.state_dict(), tmp_path / 'tiny.pth')
    segmentor = predicting.load_segmentor(cfg, str(tmp_path / 'tiny.pth'), 'cpu')
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    found = segmentor.predict(image)
    expected = replace(segmentor, model=stock).predict(image)
    assert 'seg_logits' in expected and 'seg_logits' not in found
    assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_dark_images_of_16_bits(suffix, tiny_options, tmp_path):
    cfg = load_config(str(MSRC21), tiny_options)
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'tiny.pth')
    segmentor = predicting.load_segmentor(cfg, str(tmp_path / 'tiny.pth'), 'cpu')
    values = np.arange(64 * 64 * 3, dtype=np.uint16).reshape(64, 64, 3) % 4001
    path = tmp_path / f'twelve.{suffix}'
    cv2.imwrite(str(path), values)
    with pytest.warns(UserWarning, match=f'{path} has 16-bit values from 0 to 4000, .* by 16 '):
        segmentor.load(path)
    if suffix == 'tif':
        # Signed integers.
        cv2.imwrite(str(path), values.astype(np.int16))
        with pytest.warns(UserWarning, match='has 16-bit values from 0 to 4000'):
            segmentor.load(path)
    cv2.imwrite(str(path), values * 16)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        segmentor.load(path)


@pytest.mark.parametrize('num_classes, mode', [(2, 'P'), (256, 'P'), (300, 'I;16')])
def test_labels_survive_the_file(num_classes, mode, tmp_path):
    labels = np.linspace(0, num_classes - 1, 12 * 9).astype(np.int64).reshape(12, 9)
    painter = Painter(num_classes, labels)
    entry = predicting.ImageFile(tmp_path / 'a.jpg', Path('below', 'a.png'))
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
    entries = predicting.find_inputs([tmp_path / 'clip.avi'], out_dir)
    assert [entry.num_images for entry in entries] == [5]
    predict_all(painter, entries, out_dir)
    frames = [f'clip/{index:06d}.png' for index in range(5)]
    written = sorted(str(path.relative_to(out_dir)) for path in out_dir.rglob('*.*'))
    assert written == [*frames, 'overlays/clip.mp4', 'predictions.jsonl']
    records = [json.loads(line) for line in (out_dir / 'predictions.jsonl').open()]
    assert [record['labels'] for record in records] == frames
    assert [record['time'] for record in records] == [0, 0.1, 0.2, 0.3, 0.4]
    overlay = predicting.Video.open(out_dir / 'overlays' / 'clip.mp4', Path('clip'))
    assert (overlay.num_images, overlay.frame_rate) == (5, 10)
    pixels = [image.source.mean() for image in overlay.images()]
    # Grey values 20 apart are blended with half their weight.
    np.testing.assert_allclose(np.diff(pixels), 10, atol=3)


def test_an_interrupted_prediction_leaves_no_half_written_file(tmp_path):
    draw_video(tmp_path / 'clip.avi', 5)
    out_dir = tmp_path / 'out'
    out_dir.mkdir()
    (out_dir / 'predictions.jsonl').write_text('from before')
    painter = Painter(2, np.zeros((48, 64), np.int64))
    entries = predicting.find_inputs([tmp_path / 'clip.avi'], out_dir)
    with pytest.raises(KeyboardInterrupt), predicting.PredictionWriter(out_dir, painter) as writer:
        results = predicting.write_predictions(painter, entries, writer)
        next(results)
        results.throw(KeyboardInterrupt)
    written = {str(path.relative_to(out_dir)) for path in out_dir.rglob('*.*')}
    assert written == {'clip/000000.png', 'predictions.jsonl'}
    assert (out_dir / 'predictions.jsonl').read_text() == 'from before'


def test_two_writers_in_one_folder_are_refused(tmp_path):
    painter = Painter(2, np.zeros((48, 64), np.int64))
    with predicting.PredictionWriter(tmp_path / 'out', painter):
        with (
            pytest.raises(
                UserError, match=r'output folder .+ is in use by process .+ choose anoth'
            ),
            predicting.PredictionWriter(tmp_path / 'out', painter),
        ):
            pass
        with predicting.PredictionWriter(tmp_path / 'other', painter):
            pass
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['predictions.jsonl']


def test_a_presence_that_is_not_finite_is_null(tmp_path):
    painter = Painter(3, np.zeros((4, 5), np.int64), presence=[0.25, float('nan'), float('inf')])
    entry = predicting.ImageFile(tmp_path / 'a.jpg', Path('a.png'))
    predict_all(painter, [entry], tmp_path)
    (line,) = (tmp_path / 'predictions.jsonl').read_text().splitlines()
    assert json.loads(line, parse_constant=pytest.fail)['presence'] == {
        '0': 0.25,
        '1': None,
        '2': None,
    }


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
    found = predicting.find_inputs(entries, Path('photos/out'))
    assert [str(entry.target) for entry in found] == targets


def test_an_input_is_never_overwritten(tmp_path):
    (tmp_path / 'a.png').touch()
    with pytest.raises(UserError, match='overwritten'):
        predicting.find_inputs([tmp_path], tmp_path)


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
    segmentor = predicting.load_segmentor(cfg, str(tmp_path / 'weights.pth'), 'cpu')
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
    assert 'seg_logits' not in sample
    from_pixels = segmentor.predict(image, context_maps=True, seg_logits=True)
    assert torch.equal(from_pixels.presence, sample.presence)
    assert torch.equal(
        from_pixels.seg_logits.data.argmax(dim=0, keepdim=True), sample.pred_sem_seg.data
    )
    assert from_pixels.assignments.data.shape == (4, 40, 50)


CLASS_LISTS = {
    'other names in the checkpoint': (
        dict(classes=['sky', *MSRC21Dataset.METAINFO['classes'][1:]]),
        {},
        "class 0 is 'sky', that of the config 'building'",
    ),
    'fewer in the checkpoint': (
        dict(classes=['a', 'b']),
        {},
        'it has 2 classes, the config 21',
    ),
    'fewer in the config': (
        {},
        {'test_dataloader.dataset.metainfo.classes': ['a', 'b']},
        '21 classes.*has 2',
    ),
}


@pytest.mark.parametrize('name', CLASS_LISTS)
def test_class_lists_that_do_not_match(name, tiny_options, tmp_path):
    meta, options, words = CLASS_LISTS[name]
    cfg = load_config(str(MSRC21), dict(tiny_options, **options))
    state = MODELS.build(cfg.model).state_dict()
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=meta)), tmp_path / 'weights.pth')
    with pytest.raises(UserError, match=words):
        predicting.load_segmentor(cfg, str(tmp_path / 'weights.pth'), 'cpu')


def test_classes_of_the_config_have_colours(tiny_options, tmp_path):
    """Classes of the data set keep their colours; others get default colours."""
    names = ['mine', 'grass', *(str(index) for index in range(2, 21))]
    cfg = load_config(
        str(MSRC21), dict(tiny_options, **{'test_dataloader.dataset.metainfo.classes': names})
    )
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'weights.pth')
    segmentor = predicting.load_segmentor(cfg, str(tmp_path / 'weights.pth'), 'cpu')
    assert segmentor.classes == names
    assert list(segmentor.palette[1]) == list(MSRC21Dataset.METAINFO['palette'][1])
    assert len({tuple(rgb) for rgb in segmentor.palette}) == 21


def test_a_checkpoint_without_se_branch(tiny_options, tmp_path):
    cfg = load_config(str(MSRC21), dict(tiny_options, **{'model.decode_head.use_se_loss': False}))
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'weights.pth')
    with pytest.raises(UserError, match=r'no SE branch.*use_se_loss=False'):
        predicting.load_segmentor(
            load_config(str(MSRC21), tiny_options), str(tmp_path / 'weights.pth'), 'cpu'
        )
    sample = predicting.load_segmentor(cfg, str(tmp_path / 'weights.pth'), 'cpu').predict(
        np.zeros((40, 50, 3), np.uint8)
    )
    assert 'presence' not in sample


def test_an_image_is_decoded_once(tiny_options, tmp_path, monkeypatch):
    cfg = load_config(str(MSRC21), tiny_options)
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'weights.pth')
    segmentor = predicting.load_segmentor(cfg, str(tmp_path / 'weights.pth'), 'cpu')
    photographs = tmp_path / 'photographs'
    photographs.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    for index in range(2):
        cv2.imwrite(str(photographs / f'{index}.png'), pixels)
    cv2.imwrite(str(photographs / 'grey.png'), pixels[..., 0])
    calls = []
    for module, name in ((fileio, 'get'), (cv2, 'imdecode'), (cv2, 'imread'), (Image, 'open')):
        original = getattr(module, name)

        def counted(*args, name=name, original=original, **kwargs):
            calls.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, counted)
    out_dir = tmp_path / 'out'
    entries = predicting.find_inputs([photographs], out_dir)
    predict_all(segmentor, entries, out_dir, overlays=True, sheets=True)
    assert sorted(calls) == ['get'] * 3 + ['imdecode'] * 3
    monkeypatch.undo()
    labels = np.array(Image.open(out_dir / '0.png').convert('RGB'))
    overlay = np.array(Image.open(out_dir / 'overlays' / '0.jpg'))
    # JPEG with subsampled chroma does not preserve noise, but it preserves the mean colour.
    np.testing.assert_allclose(
        overlay.mean(axis=(0, 1)), (labels / 2 + pixels[..., ::-1] / 2).mean(axis=(0, 1)), atol=5
    )


@pytest.mark.parametrize(
    'pixels',
    [
        np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
        np.arange(24, dtype=np.float32).reshape(2, 4, 3),
        np.arange(32, dtype=np.uint8).reshape(2, 4, 4),
        np.arange(8, dtype=np.uint8).reshape(2, 4),
        np.arange(8, dtype=np.uint8).reshape(2, 4, 1),
    ],
    ids=['BGR', 'float', 'alpha', 'grey', 'grey with channel'],
)
def test_rgb_of_what_loaders_return(pixels):
    rgb = predicting.LoadedImage(dict(img=pixels), []).rgb()
    assert rgb.shape == (2, 4, 3) and rgb.dtype == np.uint8 and rgb.flags.c_contiguous
    blue_green_red = np.broadcast_to(np.atleast_3d(pixels)[..., :3], rgb.shape)
    assert (rgb == blue_green_red[..., ::-1]).all()
