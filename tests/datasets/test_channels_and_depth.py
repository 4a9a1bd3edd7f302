"""Transforms and loaders for images of any number of channels and depth."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS, TRANSFORMS
from PIL import Image

from mmseg_encnet.datasets.checked import build_checked_dataset
from mmseg_encnet.datasets.loading import displayable
from mmseg_encnet.errors import UserError


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


def image(channels: int, dtype: str = 'uint8', largest: int = 255) -> np.ndarray:
    rng = np.random.default_rng(channels)
    pixels = (rng.random((40, 60, channels)) * largest).astype(dtype)
    pixels[:20, :, -1] = 0
    return pixels


def apply(pixels: np.ndarray, **step) -> np.ndarray:
    return TRANSFORMS.build(step)(dict(img=pixels, img_path='a.png'))['img']


@pytest.mark.parametrize('scale', [(30, 20), (90, 90)])
def test_colours_are_resized_as_by_the_toolbox(scale):
    for keep_ratio in (True, False):
        options = dict(scale=scale, keep_ratio=keep_ratio)
        ours = apply(image(3), type='ChannelwiseResize', **options)
        theirs = apply(image(3), type='Resize', backend='pillow', **options)
        assert (ours == theirs).all()
    grey = image(1)[..., 0]
    assert apply(grey, type='ChannelwiseResize', scale=scale).shape == scale[::-1]


@pytest.mark.parametrize(
    ('channels', 'dtype', 'largest'),
    [(2, 'uint8', 255), (4, 'uint8', 255), (3, 'uint16', 65535), (6, 'uint16', 4095)]
    + [(4, 'float32', 1)],
)
def test_every_channel_is_resized_and_blurred_alone(channels, dtype, largest):
    pixels = image(channels, dtype, largest)
    for step in (
        dict(type='ChannelwiseResize', scale=(30, 20)),
        dict(type='RandomShortSideResize', base_size=20, ratio_range=(1, 1)),
        dict(
            type='RandomResize',
            scale=(30, 20),
            ratio_range=(1, 1),
            resize_type='ChannelwiseResize',
        ),
        dict(type='RandomGaussianBlur', prob=1, radius_range=(1, 1)),
    ):
        changed = apply(pixels, **step)
        assert changed.dtype == pixels.dtype and changed.shape[2] == channels
        # Pillow filters floating-point values a little differently.
        tolerance = 1 if dtype == 'uint8' else largest / 100
        for index in range(channels):
            alone = apply(np.repeat(pixels[..., index : index + 1], 3, axis=2), **step)[..., 0]
            difference = np.abs(changed[..., index].astype(float) - alone.astype(float))
            assert difference.max() <= tolerance


def test_unknown_resizing_is_refused():
    with pytest.raises(UserError, match="must be 'pillow', got 'cv2'"):
        TRANSFORMS.build(dict(type='ChannelwiseResize', scale=(1, 1), backend='cv2'))
    with pytest.raises(UserError, match="unknown interpolation 'area'"):
        TRANSFORMS.build(dict(type='ChannelwiseResize', scale=(1, 1), interpolation='area'))


def data_set(root, suffix: str, *steps: dict, **loader):
    return build_checked_dataset(
        dict(
            type='BaseSegDataset',
            data_root=str(root),
            img_suffix=suffix,
            metainfo=dict(classes=('a', 'b')),
            data_prefix=dict(img_path='', seg_map_path=''),
            pipeline=[
                dict(dict(type='LoadImageFromFile', color_type='unchanged'), **loader),
                dict(type='LoadAnnotations'),
                *steps,
            ],
        )
    )


def test_channels_that_cannot_be_padded_are_refused(tmp_path):
    np.save(tmp_path / 'a.npy', image(6))
    Image.new('L', (60, 40)).save(tmp_path / 'a.png')
    loader = dict(type='LoadImageFromNpyFile')
    pad = dict(type='Pad', size=(64, 64))
    with pytest.raises(UserError, match=r'Pad cannot pad image .*a.npy with 6 channels'):
        data_set(tmp_path, '.npy', pad, **loader)[0]
    assert (data_set(tmp_path, '.npy', **loader)[0]['img'] == image(6)).all()


def test_nested_resizing_is_found(tmp_path):
    np.save(tmp_path / 'a.npy', image(4))
    Image.new('L', (60, 40)).save(tmp_path / 'a.png')
    resize = dict(type='Resize', scale=(20, 20), backend='pillow')
    for step in (
        resize,
        dict(type='RandomResize', scale=(20, 20), ratio_range=(1, 1), backend='pillow'),
        dict(type='RandomApply', transforms=[resize], prob=1.0),
        dict(type='TestTimeAug', transforms=[[resize], [dict(type='PackSegInputs')]]),
    ):
        with pytest.raises(UserError, match=r'takes the last of 4 channels .* as transparency'):
            data_set(tmp_path, '.npy', step, type='LoadImageFromNpyFile')[0]


def test_a_missing_decoder_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tifffile', None)
    with pytest.raises(UserError, match=r'tifffile is not installed.*\[tiff\]'):
        data_set(tmp_path, '.tif', imdecode_backend='tifffile')


def test_six_bands_of_a_tiff_file(tmp_path):
    tifffile = pytest.importorskip('tifffile')
    tifffile.imwrite(tmp_path / 'a.tif', image(6, 'uint16', 65535), planarconfig='contig')
    Image.new('L', (60, 40)).save(tmp_path / 'a.png')
    with pytest.raises(UserError, match="set imdecode_backend='tifffile'"):
        data_set(tmp_path, '.tif')[0]
    sample = data_set(tmp_path, '.tif', imdecode_backend='tifffile')[0]
    assert (sample['img'] == image(6, 'uint16', 65535)).all()


@pytest.mark.parametrize('channels', [1, 2, 4, 6])
def test_channels_are_normalised_each(channels):
    mean, std = list(range(channels)), [1 + index for index in range(channels)]
    model = MODELS.build(dict(type='ChannelsPreProcessor', mean=mean, std=std))
    inputs = torch.rand(channels, 8, 8) * 255
    found = model(dict(inputs=[inputs]))['inputs'][0]
    torch.testing.assert_close(
        found, (inputs - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    )
    with pytest.raises(UserError, match='one mean and one positive'):
        MODELS.build(dict(type='ChannelsPreProcessor', mean=mean, std=[0] * channels))


def test_images_are_shown_in_rgb():
    bgr = image(3)
    assert (displayable(bgr) == bgr[..., ::-1]).all()
    assert (displayable(bgr, rgb_order=True) == bgr).all()
    assert (displayable(image(4)) == image(4)[..., 2::-1]).all()
    assert (displayable(bgr[..., 0]) == bgr[..., :1]).all()
    assert (displayable(bgr.astype(np.float32)) == bgr[..., ::-1]).all()
    deep = displayable(image(3, 'uint16', 4095))
    assert deep.min() == 0 and deep.max() == 255 and 100 < deep.mean() < 155
    assert displayable(np.full((4, 4), 3000, np.uint16)).shape == (4, 4, 3)
