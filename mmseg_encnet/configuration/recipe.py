"""Augmentation and evaluation pipelines, built from named sizes.

The data set configs call these functions, so that a size occurs once and no pipeline is edited by
position. The resolved config holds plain dictionaries.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

Step = dict[str, Any]

TTA_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


class Recipe(NamedTuple):
    """Pipelines of one recipe.

    Attributes:
        train_pipeline: Steps for training images.
        test_pipeline: Steps for validation and test images.
        tta_scales: Factors by which test-time augmentation scales each image.
        tta_pipeline: Steps for test-time augmentation: every scale, with and without a flip.
    """

    train_pipeline: list[Step]
    test_pipeline: list[Step]
    tta_scales: list[float]
    tta_pipeline: list[Step]


def published_recipe(
    *, base_size: int, crop_size: tuple[int, int], padding_label: int = 255
) -> Recipe:
    """Return the augmentation and evaluation of PyTorch-Encoding, release 1.0 and later.

    The published EncNet results rest on it. In a config file::

        recipe = __import__('mmseg_encnet').published_recipe(base_size=520, crop_size=(480, 480))

    Args:
        base_size: Length in pixels to which the long side is scaled. Training multiplies it by a
            random factor between 0.5 and 2.
        crop_size: Height and width in pixels of the training crops.
        padding_label: Label of the padding around images smaller than the crop.
    """
    train_pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        # Pillow averages over pixels when it shrinks an image, OpenCV does not.
        dict(
            type='RandomResize',
            scale=(base_size, base_size),
            ratio_range=(0.5, 2.0),
            keep_ratio=True,
            backend='pillow',
        ),
        # Black before normalisation. The toolbox pads after it, with the mean colour.
        dict(type='Pad', size=crop_size, pad_val=dict(img=0, seg=padding_label)),
        dict(type='RandomCrop', crop_size=crop_size),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackSegInputs'),
    ]
    scales = [
        dict(type='Resize', scale=(math.ceil(base_size * scale),) * 2, keep_ratio=True)
        for scale in TTA_SCALES
    ]
    return _with_evaluation(train_pipeline, (base_size, base_size), scales)


def toolbox_recipe(*, scale: tuple[int, int], crop_size: tuple[int, int]) -> Recipe:
    """Return MMSegmentation's augmentation, with which its EncNet checkpoints were trained.

    Args:
        scale: Upper bounds in pixels of the long and the short side. Training multiplies them by a
            random factor between 0.5 and 2.
        crop_size: Height and width in pixels of the training crops.
    """
    train_pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='RandomResize', scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PhotoMetricDistortion'),
        dict(type='PackSegInputs'),
    ]
    scales = [dict(type='Resize', scale_factor=factor, keep_ratio=True) for factor in TTA_SCALES]
    return _with_evaluation(train_pipeline, scale, scales)


def rotated(train_pipeline: list[Step], *, degrees: float, padding_label: int = 255) -> list[Step]:
    """Return a training pipeline that also rotates each image, after scaling and before padding.

    The EncNet paper (section 4.1) and PyTorch-Encoding before release 0.5.0 rotate by up to 10
    degrees.

    Args:
        train_pipeline: Steps of :func:`published_recipe`.
        degrees: Largest angle in either direction.
        padding_label: Label of the corners that the rotated image does not cover. They are black.
    """
    rotate = dict(
        type='RandomRotate', prob=1.0, degree=degrees, pad_val=0, seg_pad_val=padding_label
    )
    steps = []
    for step in train_pipeline:
        if step['type'] == 'Pad':
            steps.append(rotate)
        steps.append(step)
    return steps


def _with_evaluation(
    train_pipeline: list[Step], test_scale: tuple[int, int], tta_resizing: list[Step]
) -> Recipe:
    test_pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=test_scale, keep_ratio=True),
        # After Resize, because predictions are compared at the size of the original image.
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs'),
    ]
    transforms = [
        tta_resizing,
        [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
        [dict(type='LoadAnnotations')],
        [dict(type='PackSegInputs')],
    ]
    tta_pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='TestTimeAug', transforms=transforms),
    ]
    return Recipe(train_pipeline, test_pipeline, list(TTA_SCALES), tta_pipeline)
