"""Resizing and cropping in one step equals the single transforms to the bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from mmengine.dataset import Compose
from mmseg.registry import TRANSFORMS
from PIL import Image, ImageFilter

import mmseg_encnet
from mmseg_encnet.datasets.transforms import (
    RandomGaussianBlur,
    ResizeAndCrop,
    native,
    window,
)
from mmseg_encnet.datasets.transforms.resize_and_crop import combined
from mmseg_encnet.errors import UserError

CROP = (48, 56)
PAD = dict(type='Pad', size=(56, 48), pad_val=dict(img=7, seg=255))
SHORT = dict(type='RandomShortSideResize', base_size=52)
LONG = dict(
    type='RandomResize',
    scale=(90, 60),
    ratio_range=(0.5, 2.0),
    keep_ratio=True,
    resize_type='ChannelwiseResize',
    backend='pillow',
)
OPENCV = dict(type='RandomResize', scale=(90, 60), ratio_range=(0.5, 2.0), keep_ratio=True)
FIXED = dict(type='Resize', scale=(77, 51), backend='pillow')
PIPELINES = {
    'short side': [SHORT, PAD, dict(type='RandomCrop', crop_size=CROP)],
    'short side with OpenCV': [
        dict(SHORT, backend='cv2'),
        PAD,
        dict(type='RandomCrop', crop_size=CROP),
    ],
    'long side': [LONG, PAD, dict(type='RandomCrop', crop_size=CROP)],
    'toolbox': [OPENCV, dict(type='RandomCrop', crop_size=CROP, cat_max_ratio=0.4)],
    'toolbox with Pillow': [LONG, dict(type='RandomCrop', crop_size=CROP, cat_max_ratio=0.4)],
    'fixed': [FIXED, PAD, dict(type='RandomCrop', crop_size=CROP, cat_max_ratio=0.9)],
}
SIZES = ((37, 50), (50, 37), (60, 60), (13, 90), (90, 41), (120, 160), (1, 5))


@pytest.fixture(params=['kernels', 'Pillow'])
def implementation(request):
    """Run a test with the compiled kernels, and with Pillow alone as without a compiler."""
    if request.param == 'Pillow':
        with native.not_used():
            yield
    elif native.available():
        yield
    else:
        pytest.skip(native.NOT_BUILT)


def sample(size, seed, *, channels=(3,), dtype=np.uint8, **others):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, size).astype(np.uint8)
    label[rng.random(size) < 0.1] = 255
    return dict(
        img=rng.integers(0, 256, (*size, *channels)).astype(dtype),
        gt_seg_map=label,
        seg_fields=['gt_seg_map'],
        img_shape=size,
        **others,
    )


def results_and_next_number(step, given, seed):
    np.random.seed(seed)
    return step(copy.deepcopy(given)), np.random.rand()


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == other[key].dtype
            np.testing.assert_array_equal(value, other[key], err_msg=key)
        else:
            assert value == other[key], key


@pytest.mark.parametrize('name', PIPELINES)
def test_equals_the_transforms_one_after_the_other(name, implementation):
    plain = Compose([TRANSFORMS.build(step) for step in PIPELINES[name]])
    together = ResizeAndCrop(PIPELINES[name])
    for seed in range(8):
        for size in SIZES:
            given = sample(size, seed)
            expected, next_number = results_and_next_number(plain, given, seed)
            found, next_found = results_and_next_number(together, given, seed)
            assert_equal(found, expected)
            assert next_found == next_number


@pytest.mark.parametrize(
    'given',
    [
        sample((30, 40), 0, channels=()),
        sample((30, 40), 0, channels=(1,)),
        sample((30, 40), 0, channels=(4,)),
        sample((30, 40), 0, dtype=np.uint16),
        {key: value for key, value in sample((30, 40), 0).items() if 'seg' not in key},
        sample((30, 40), 0, gt_bboxes=np.float32([[1, 2, 20, 25]])),
        dict(sample((30, 40), 0), seg_fields=[]),
    ],
    ids=['grey', 'one channel', 'four channels', '16 bits', 'no label', 'boxes', 'uncropped label'],
)
def test_other_samples(given):
    expected = Compose(PIPELINES['short side'])
    given = dict(seg_fields=[], **given) if 'seg_fields' not in given else given
    one, _ = results_and_next_number(expected, given, 3)
    other, _ = results_and_next_number(ResizeAndCrop(PIPELINES['short side']), given, 3)
    assert_equal(other, one)


@pytest.mark.parametrize(
    'recipe',
    [
        mmseg_encnet.published_recipe(base_size=60, crop_size=CROP, release='v0.5.0'),
        mmseg_encnet.published_recipe(base_size=60, crop_size=CROP),
        mmseg_encnet.toolbox_recipe(scale=(90, 60), crop_size=CROP),
    ],
    ids=['v0.5.0', 'v1.2.0', 'toolbox'],
)
def test_the_recipes_contain_it(recipe):
    transforms = Compose(recipe.train_pipeline).transforms
    steps = combined(transforms)
    [together] = [step for step in steps if isinstance(step, ResizeAndCrop)]
    flat = [
        part for step in steps for part in (together.transforms if step is together else [step])
    ]
    assert flat == transforms
    assert not any(isinstance(step, ResizeAndCrop) for step in combined(transforms[:2]))


@pytest.mark.parametrize(
    'step',
    [
        dict(type='Resize', scale=(9, 9), interpolation='nearest'),
        dict(type='Resize', scale_factor=0.5),
        dict(type='RandomChoiceResize', scales=[(9, 9)]),
        dict(type='RandomRotate', prob=1.0, degree=10),
    ],
    ids=lambda step: '-'.join(map(str, step.values())),
)
def test_other_transforms_stay_apart(step):
    crop = dict(type='RandomCrop', crop_size=CROP)
    transforms = Compose([step, crop]).transforms
    assert combined(transforms) == transforms
    with pytest.raises(UserError, match=f'got transforms {step["type"]}, RandomCrop of'):
        ResizeAndCrop([step, crop])


@pytest.mark.parametrize('pad', [dict(size=(57, 48)), dict(size_divisor=8)], ids=str)
def test_padding_beyond_the_crop_stays_apart(pad):
    steps = [FIXED, dict(type='Pad', **pad), dict(type='RandomCrop', crop_size=CROP)]
    transforms = Compose(steps).transforms
    assert combined(transforms) == transforms


@pytest.mark.parametrize('shape', [(40, 50), (40, 50, 3)], ids=str)
def test_windows_of_any_place_and_scale(shape, implementation):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, shape).astype(np.uint8)
    for _ in range(60):
        width, height = map(int, rng.integers(1, 150, 2))
        top, left = int(rng.integers(height)), int(rng.integers(width))
        rows = slice(top, int(rng.integers(top, height)) + 1)
        columns = slice(left, int(rng.integers(left, width)) + 1)
        whole = np.array(Image.fromarray(image).resize((width, height), Image.BILINEAR))
        found = window.resized_window(image, (width, height), rows, columns, 'pillow')
        np.testing.assert_array_equal(found, whole[rows, columns])


@pytest.mark.parametrize('shape', [(1, 1, 3), (1, 9), (9, 1, 3), (2, 2), (20, 31, 3)], ids=str)
def test_blur_equals_pillow(shape, implementation):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for radius in (0.0, 0.001, 0.2, 0.5, 0.77, 1.0, 1.3, 1.5, 3.0):
        blur = RandomGaussianBlur(prob=1.0, radius_range=(radius, radius))
        expected = np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
        np.testing.assert_array_equal(blur(dict(img=image.copy()))['img'], expected)


def test_every_instruction_set_computes_the_same_bits(monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    results = []
    for name, index in native.INSTRUCTION_SETS.items():
        with monkeypatch.context() as patch:
            patch.setattr(native, 'INSTRUCTION_SETS', {name: index})
            resized = native.resized_window(image, (31, 90), slice(0, 90), slice(0, 31))
            results.append(np.concatenate((resized.ravel(), native.blurred(image, 0.8).ravel())))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_an_unknown_pillow_is_used_itself(monkeypatch):
    monkeypatch.setattr(native, '_blurred', lambda image, radius: np.zeros_like(image))
    native.available.cache_clear()
    try:
        image = np.full((5, 5, 3), 9, np.uint8)
        assert native.resized_window(image, (9, 9), slice(0, 2), slice(0, 2)) is None
        assert RandomGaussianBlur(1.0, (0.5, 0.5))(dict(img=image))['img'].max() == 9
    finally:
        native.available.cache_clear()
