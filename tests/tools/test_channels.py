"""Images of other channels and depths than colour photographs, through every tool."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_setup import MSRC21

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.exporting import FoldedEncNet
from mmseg_encnet.predicting import load_segmentor
from mmseg_encnet.workbench.demo_page.session import label_photograph, read_photograph
from mmseg_encnet.workbench.reporting.evaluation_record import evaluation_record

SPLITS = ('train', 'val', 'test')


def grey(image: np.ndarray) -> np.ndarray:
    return image.mean(axis=2).astype(np.uint8)


def with_bands(image: np.ndarray, count: int, scale: int = 1) -> np.ndarray:
    """Return colours and further bands that are zero in places, as transparency would be."""
    dtype = np.uint16 if scale > 1 else np.uint8
    bands = [image[..., index % 3].astype(dtype) * scale for index in range(count)]
    bands[-1][: len(image) // 2] = 0
    return np.stack(bands, axis=2)


CASES = {
    # Suffix, what is written, loader, channels, largest value.
    'grey': ('.png', grey, dict(color_type='grayscale'), 1, 255),
    'four': ('.png', lambda x: with_bands(x, 4), dict(color_type='unchanged'), 4, 255),
    'four of 16 bits': (
        '.tif',
        lambda x: with_bands(x, 4, 256),
        dict(color_type='unchanged'),
        4,
        65535,
    ),
    'six': ('.npy', lambda x: with_bands(x, 6, 16), dict(type='LoadImageFromNpyFile'), 6, 4095),
}


@pytest.fixture(params=CASES)
def case(request, tiny_data, tiny_options, tmp_path) -> tuple[str, dict, np.ndarray, int]:
    """Rewrite the tiny data set.

    Returns:
        Config, its options, one image as written and its number of channels.
    """
    suffix, change, loader, channels, largest = CASES[request.param]
    for path in sorted((tiny_data / 'images').rglob('*.jpg')):
        image = change(np.array(Image.open(path))[..., ::-1])
        path.unlink()
        target = path.with_suffix(suffix)
        if suffix == '.npy':
            np.save(target, image)
        else:
            assert cv2.imwrite(str(target), image)
    options = dict(tiny_options)
    for split in SPLITS:
        options[f'{split}_dataloader.dataset.img_suffix'] = suffix
    for key, value in loader.items():
        for split in SPLITS:
            options[f'{split}_dataloader.dataset.pipeline.0.{key}'] = value
        options[f'published_tta_pipeline.0.{key}'] = value
    options |= {
        'model.backbone.in_channels': channels,
        'model.data_preprocessor.type': 'ChannelsPreProcessor',
        'model.data_preprocessor.mean': [largest / 2] * channels,
        'model.data_preprocessor.std': [largest / 4] * channels,
        'model.data_preprocessor.bgr_to_rgb': False,
        'model.test_cfg.crop_size': (48, 48),
        'model.test_cfg.stride': (32, 32),
        'published_tta_model.base_size': 64,
        'published_tta_model.scales': [1.0],
    }
    config = tmp_path / 'channels.py'
    config.write_text(f'_base_ = {str(MSRC21)!r}\n')
    if channels > 4:
        # The data preprocessor pads.
        del options['train_dataloader.dataset.pipeline.Pad.size']
        config.write_text(
            config.read_text()
            + "steps = [step for step in _base_.train_pipeline if step['type'] != 'Pad']\n"
            + 'train_dataloader = dict(dataset=dict(pipeline=steps))\n'
        )
    return str(config), options, image, channels


def test_every_tool(case, run_tool, tiny_data, tmp_path):
    config, options, _, channels = case
    trained = run_tool('train', config, '--work-dir', 'work', options=options)
    assert trained.status == 0, trained.err
    weights = tmp_path / 'work' / 'iter_2.pth'
    for views in ([], ['--published-tta']):
        out, show = f'out{len(views)}', f'show{len(views)}'
        result = run_tool(
            'test', config, weights, *views, '--out', out, '--show-dir', show, options=options
        )
        assert result.status == 0, result.err
        assert len(list((tmp_path / show).rglob('*.png'))) == 2
    tested = [np.array(Image.open(path)) for path in sorted((tmp_path / 'out0').glob('*.png'))]

    files = sorted((tiny_data / 'images' / 'val').iterdir())
    result = run_tool(
        'infer',
        # The files of the folder, whatever their suffix.
        *(config, weights, files[0].parent, '--out-dir', 'labels', '--overlays', '--sheets'),
        options=options,
    )
    assert result.status == 0, result.err
    for path, expected in zip(sorted((tmp_path / 'labels').glob('*.png')), tested, strict=True):
        assert (np.array(Image.open(path)) == expected).all()
    assert len((tmp_path / 'labels' / 'predictions.jsonl').read_text().splitlines()) == 2

    cfg = load_config(config, options, str(tmp_path / 'work'))
    record = evaluation_record(cfg, weights, tmp_path / 'kept', 'run')
    assert len(record.sheets) == 2

    segmentor = load_segmentor(cfg, str(weights), 'cpu')
    loaded = read_photograph(files[0], segmentor)
    session, context = label_photograph(segmentor, loaded)
    assert (session.labels(0) == tested[0]).all()
    assert context.image.shape == (*tested[0].shape, 3)
    assert np.ptp(context.image) > 30
    assert FoldedEncNet(segmentor.model).in_channels == channels

    result = run_tool('analysis_tools/browse_dataset', config, '--count', 2, options=options)
    assert result.status == 0, result.err


def test_pillow_does_not_take_the_fourth_channel_as_transparency(case, run_tool):
    config, options, image, channels = case
    plain = {
        'train_dataloader.dataset.pipeline.RandomResize.resize_type': 'Resize',
        'train_dataloader.dataset.pipeline.RandomResize.backend': 'pillow',
    }
    result = run_tool('train', config, '--work-dir', 'work', options=options | plain)
    if image.dtype == np.uint8 and channels != 4:
        assert result.status == 0
    else:
        assert "Resize(backend='pillow')" in result.sentence
        assert ('transparency' in result.sentence) == (image.dtype == np.uint8)
        assert "type='ChannelwiseResize'" in result.sentence
