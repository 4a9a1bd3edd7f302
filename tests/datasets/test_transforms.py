"""The transforms of PyTorch-Encoding 0.5.0, held to Pillow."""

from __future__ import annotations

import random

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import TRANSFORMS
from PIL import Image, ImageFilter

from mmseg_encnet.datasets import RandomGaussianBlur, RandomShortSideResize
from mmseg_encnet.errors import UserError


@pytest.fixture(autouse=True)
def _seed():
    init_default_scope('mmseg')
    np.random.seed(0)


def sample(height: int, width: int) -> dict:
    rng = np.random.default_rng(0)
    return dict(
        img=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        gt_seg_map=rng.integers(0, 5, (height, width), dtype=np.uint8),
        seg_fields=['gt_seg_map'],
    )


@pytest.mark.parametrize('radius', [0.0, 0.3, 1.0])
def test_blur_equals_pillow(radius):
    results = sample(20, 31)
    expected = Image.fromarray(results['img']).filter(ImageFilter.GaussianBlur(radius))
    label = results['gt_seg_map'].copy()
    blurred = RandomGaussianBlur(prob=1.0, radius_range=(radius, radius))(results)
    assert np.array_equal(blurred['img'], np.array(expected))
    assert blurred['img'].flags.writeable
    assert np.array_equal(blurred['gt_seg_map'], label)


def test_blur_is_as_frequent_and_as_wide_as_stated():
    blur = RandomGaussianBlur()
    radii = [blur._random_radius() for _ in range(4000)]
    drawn = np.array([radius for radius in radii if radius is not None])
    assert len(drawn) / len(radii) == pytest.approx(0.5, abs=0.03)
    assert 0 <= drawn.min() < 0.01 < 0.99 < drawn.max() < 1
    assert drawn.mean() == pytest.approx(0.5, abs=0.03)
    assert RandomGaussianBlur(prob=0.0)._random_radius() is None


@pytest.mark.parametrize('height, width', [(33, 50), (50, 33), (40, 40), (7, 90)])
def test_resize_equals_the_original(height, width):
    resize = RandomShortSideResize(base_size=36)
    for _ in range(5):
        results = sample(height, width)
        # encoding/datasets/base.py at f891919, lines 71 to 80.
        state = np.random.get_state()
        short_size = resize._random_length()
        np.random.set_state(state)
        w, h = width, height
        if h > w:
            ow = short_size
            oh = int(1.0 * h * ow / w)
        else:
            oh = short_size
            ow = int(1.0 * w * oh / h)
        img = Image.fromarray(results['img']).resize((ow, oh), Image.BILINEAR)
        mask = Image.fromarray(results['gt_seg_map']).resize((ow, oh), Image.NEAREST)

        resized = resize(results)
        assert np.array_equal(resized['img'], np.array(img))
        assert np.array_equal(resized['gt_seg_map'], np.array(mask))
        assert resized['img_shape'] == (oh, ow)


def test_resize_draws_every_length_including_the_bounds():
    resize = RandomShortSideResize(base_size=9, ratio_range=(0.5, 2.0))
    assert {resize._random_length() for _ in range(600)} == set(range(4, 19))


def test_the_seed_decides():
    pipeline = [
        TRANSFORMS.build(dict(type='RandomShortSideResize', base_size=30)),
        TRANSFORMS.build(dict(type='RandomGaussianBlur')),
    ]

    def augment() -> np.ndarray:
        results = sample(20, 30)
        for step in pipeline:
            results = step(results)
        return results['img']

    np.random.seed(3)
    first = [augment() for _ in range(4)]
    random.seed(1)
    np.random.seed(3)
    assert all(np.array_equal(image, augment()) for image in first)


@pytest.mark.parametrize(
    'build, settings, words',
    [
        (RandomGaussianBlur, dict(prob=1.5), 'prob=1.5'),
        (RandomGaussianBlur, dict(radius_range=(1.0, 0.5)), 'radius_range'),
        (RandomGaussianBlur, dict(radius_range=(-1.0, 0.5)), 'radius_range'),
        (RandomShortSideResize, dict(base_size=0), 'base_size=0'),
        (RandomShortSideResize, dict(base_size=10, ratio_range=(2.0, 0.5)), 'ratio_range'),
    ],
)
def test_wrong_settings_are_refused(build, settings, words):
    with pytest.raises(UserError, match=words):
        build(**settings)
