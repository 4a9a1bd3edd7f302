"""Statistics of channels, against NumPy over all pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mmengine.config import Config
from multispectral_files import draw_fields, write_bands
from PIL import Image

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.inspection.channel_statistics import (
    ChannelStatistics,
    ImageMoments,
    measure_channels,
)


def dataset(root, **loader) -> Config:
    return Config(
        dict(
            train_dataloader=dict(
                dataset=dict(
                    type='BaseSegDataset',
                    data_root=str(root),
                    metainfo=dict(classes=('a', 'b', 'c'), palette=[[0] * 3, [1] * 3, [2] * 3]),
                    img_suffix='.tif',
                    seg_map_suffix='.png',
                    data_prefix=dict(img_path='images', seg_map_path='labels'),
                    pipeline=[
                        dict(type='LoadImageFromTIFF', **loader),
                        dict(type='LoadAnnotations'),
                    ],
                )
            )
        )
    )


@pytest.mark.parametrize('bands, planar', [(1, False), (2, True), (4, False), (6, True)])
def test_every_layout_of_a_tiff(tmp_path, bands, planar):
    images = draw_fields(tmp_path / 'data', bands, planar)
    measured = measure_channels(dataset(tmp_path / 'data'), 'train', 1)
    pixels = images.reshape(-1, bands).astype(float)
    np.testing.assert_allclose(measured.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(measured.std, pixels.std(0), rtol=1e-10)
    assert (measured.low == pixels.min(0)).all() and (measured.high == pixels.max(0)).all()
    # All pixels of images this small.
    np.testing.assert_allclose(measured.percentiles, np.percentile(pixels, (1, 50, 99), axis=0))
    assert measured.dtypes == ('uint16',) and not measured.bgr_to_rgb
    measured.write(tmp_path / 'out')
    content = json.loads((tmp_path / 'out' / 'channels.json').read_text())
    assert (
        content['images'] == 6 and content['percentiles']['50'] == measured.percentiles[1].tolist()
    )


def test_the_written_config_normalises(tmp_path):
    draw_fields(tmp_path / 'data')
    measure_channels(dataset(tmp_path / 'data'), 'train', 1).write(tmp_path)
    config = tmp_path / 'config.py'
    config.write_text(
        "_base_ = [__import__('mmseg_encnet').config_file('encnet_r18_binary'),\n"
        "    'normalisation.py']\n"
        'model = dict(data_preprocessor=dict(\n'
        "    type='ChannelsPreProcessor', **_base_.normalisation))\n"
    )
    preprocessor = load_config(str(config)).model.data_preprocessor
    assert len(preprocessor.mean) == len(preprocessor.std) == 4


def test_colours_are_in_the_order_of_the_normalisation(tiny_config, tiny_data):
    cfg = tiny_config()
    files = sorted((tiny_data / 'images' / 'train').glob('*.jpg'))
    pixels = np.concatenate([np.array(Image.open(path)).reshape(-1, 3) for path in files])
    measured = measure_channels(cfg, 'train', 1)
    assert measured.bgr_to_rgb
    # OpenCV and Pillow decode JPEG alike up to rounding.
    np.testing.assert_allclose(measured.mean, pixels.mean(0), atol=0.5)


def test_values_that_are_left_out():
    image = np.ones((4, 5, 2), np.float32)
    image[0, :, 0] = [np.nan, np.inf, 3, 5, 1]
    measured = ChannelStatistics.collect([ImageMoments.of(image, 9, 0)] * 2, 'train', False)
    assert measured.left_out == 4
    assert measured.mean[0] == pytest.approx((15 + 9) / 18)
    first, second = measured.warnings
    assert '4 values are NaN or infinite' in first
    assert 'channel 1 has the value 1 everywhere' in second


def test_large_offsets_keep_their_digits():
    rng = np.random.default_rng(0)
    images = [1e9 + rng.normal(0, 1, (20, 20)) for _ in range(5)]
    measured = ChannelStatistics.collect(
        (ImageMoments.of(image, 1, 0) for image in images), 'train', False
    )
    assert measured.std[0] == pytest.approx(np.std(images), rel=1e-6)


def test_different_channels_and_missing_values_are_refused(tmp_path):
    draw_fields(tmp_path / 'data')
    odd = tmp_path / 'data' / 'images' / 'field_5.tif'
    write_bands(odd, np.zeros((48, 56, 5), np.uint16))
    with pytest.raises(UserError, match=r'field_5.tif has 5 channels, the others have 4'):
        measure_channels(dataset(tmp_path / 'data'), 'train', 1)
    odd.write_bytes(b'II*\0')
    with pytest.raises(UserError, match=r'field_5.tif'):
        measure_channels(dataset(tmp_path / 'data'), 'train', 1)
    empty = [ImageMoments.of(np.full((2, 2), np.nan), 1, 0)]
    with pytest.raises(UserError, match='channel 0 of the val images has no finite value'):
        ChannelStatistics.collect(empty, 'val', False)
