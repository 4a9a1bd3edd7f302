"""The two published recipes of EncNet, and augmentation and evaluation pipelines from named sizes.

The data set configs call these functions, so each size is stated once and no pipeline is edited by
position. The resolved config holds plain dictionaries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from mmseg_encnet.errors import UserError

Step = dict[str, Any]

TTA_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
CITYSCAPES_TTA_SCALES = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25)


class Schedule(NamedTuple):
    """Length and learning rate of a training schedule.

    Attributes:
        epochs: Number of epochs.
        lr: Learning rate of the backbone at a batch size of 16; ten times that elsewhere.
    """

    epochs: int
    lr: float


class Release(NamedTuple):
    """The settings that differ between the releases of PyTorch-Encoding.

    Attributes:
        commit: Commit in which the values were checked.
        scaled_side: The side of the image whose random length augmentation draws.
        blur: Whether augmentation blurs half of the crops.
        channel_dropout: Whether dropout zeroes whole channels instead of single values.
        cityscapes_tta_scales: Scales of the multi-scale evaluation of Cityscapes.
        schedules: Schedule by the name of the data set.
    """

    commit: str
    scaled_side: str
    blur: bool
    channel_dropout: bool
    cityscapes_tta_scales: tuple[float, ...]
    schedules: dict[str, Schedule]


# Paths are those of https://github.com/zhanghang1989/PyTorch-Encoding at the commit of the release:
# schedules in experiments/segmentation/{option,train}.py, augmentation in encoding/datasets,
# scales in experiments/segmentation/test.py, dropout in encoding/models.
#
# Common to all releases: SGD with momentum 0.9 and weight decay 1e-4, a batch of 16, ten times the
# learning rate after the backbone, polynomial decay with power 0.9 to 0, weights 0.2 of the
# auxiliary and the SE loss, random scales 0.5 to 2 of a base size of 520, crops of 480.
RELEASES = {
    # 2018-09-26. The published EncNet weights and their results first appear in this release. Its
    # code for Cityscapes cannot have been run as released (encoding/datasets/cityscapes.py does not
    # import random); it would scale by up to 2.5 and rotate by up to 10 degrees.
    'v0.5.0': Release(
        commit='f891919',
        scaled_side='short',
        blur=True,
        channel_dropout=True,
        cityscapes_tta_scales=(0.5, *CITYSCAPES_TTA_SCALES),
        schedules={
            'pcontext': Schedule(80, 0.001),
            'ade20k': Schedule(120, 0.01),
            'cityscapes': Schedule(180, 0.01),
            'coco21': Schedule(30, 0.01),
            'voc12aug': Schedule(50, 0.001),
            'voc12': Schedule(50, 0.0001),
        },
    ),
    # 2020-05-10 and all later commits up to ac74841 (2024-12-20). Release 1.0.0 (ce461da,
    # 2018-12-17) already has these schedules and the long side, without blur. It still has channel
    # dropout, scales ADE20K by up to 2.5 and evaluates the other data sets at scale 2 as well.
    'v1.2.0': Release(
        commit='ac74841',
        scaled_side='long',
        blur=False,
        channel_dropout=False,
        cityscapes_tta_scales=CITYSCAPES_TTA_SCALES,
        schedules={
            'pcontext': Schedule(80, 0.001),
            'ade20k': Schedule(180, 0.004),
            'cityscapes': Schedule(240, 0.004),
            'coco21': Schedule(30, 0.004),
            'voc12aug': Schedule(80, 0.001),
            'voc12': Schedule(50, 0.0001),
        },
    ),
}


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
    *,
    base_size: int,
    crop_size: tuple[int, int],
    padding_label: int = 255,
    release: str = 'v1.2.0',
    tta_scales: Sequence[float] = TTA_SCALES,
) -> Recipe:
    """Return the augmentation and evaluation of a release of PyTorch-Encoding.

    The published weights and results of EncNet appeared with release 0.5.0. In a config file::

        recipe = __import__('mmseg_encnet').published_recipe(
            base_size=520, crop_size=(480, 480), release='v0.5.0'
        )

    Args:
        base_size: Length in pixels to which training scales one side, after multiplying it by a
            random factor between 0.5 and 2: the short side in v0.5.0, the long side in v1.2.0.
            Evaluation scales the long side in both.
        crop_size: Height and width in pixels of the training crops.
        padding_label: Label of the padding around images smaller than the crop.
        release: A key of ``RELEASES``.
        tta_scales: Factors by which test-time augmentation scales the long side.

    Raises:
        UserError: The release is unknown.
    """
    if release not in RELEASES:
        raise UserError(f'unknown release {release!r}; choose one of {", ".join(RELEASES)}.')
    published = RELEASES[release]
    # Pillow averages over pixels when it shrinks an image, OpenCV does not.
    if published.scaled_side == 'short':
        resize = dict(
            type='RandomShortSideResize',
            base_size=base_size,
            ratio_range=(0.5, 2.0),
            backend='pillow',
        )
    else:
        resize = _scaled_long_side(base_size, (0.5, 2.0))
    blur = [dict(type='RandomGaussianBlur', prob=0.5, radius_range=(0.0, 1.0))]
    train_pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        resize,
        # Black before normalisation. The toolbox pads after it, with the mean colour.
        dict(type='Pad', size=crop_size[::-1], pad_val=dict(img=0, seg=padding_label)),
        dict(type='RandomCrop', crop_size=crop_size),
        *(blur if published.blur else []),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackSegInputs'),
    ]
    scales = [
        dict(type='Resize', scale=(math.ceil(base_size * scale),) * 2, keep_ratio=True)
        for scale in tta_scales
    ]
    return _with_evaluation(train_pipeline, (base_size, base_size), tta_scales, scales)


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
    return _with_evaluation(train_pipeline, scale, TTA_SCALES, scales)


def whole_views(base_size: int, view_size: tuple[int, int]) -> list[Step]:
    """Return a training pipeline of whole images, slightly smaller or larger.

    Args:
        base_size: Long side of the resized images, in pixels, before it is multiplied by a random
            factor between 0.8 and 1.25.
        view_size: Height and width to which they are padded, and cropped if they are larger.
    """
    return [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        _scaled_long_side(base_size, (0.8, 1.25)),
        *_view(view_size),
        dict(type='PackSegInputs'),
    ]


def repeated_whole_views(base_size: int, view_size: tuple[int, int]) -> list[Step]:
    """Return a training pipeline of four views of each whole image, whose features can be cached.

    Args:
        base_size: Long side of the resized images, in pixels.
        view_size: Height and width to which they are padded, and cropped if they are larger.
    """
    return [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(
            type='RepeatedViews',
            num_views=4,
            transforms=[
                dict(type='Resize', scale=(base_size, base_size), keep_ratio=True),
                *_view(view_size),
            ],
        ),
        dict(type='PackSegInputs'),
    ]


def _scaled_long_side(base_size: int, ratio_range: tuple[float, float]) -> Step:
    return dict(
        type='RandomResize',
        scale=(base_size, base_size),
        ratio_range=ratio_range,
        keep_ratio=True,
        resize_type='ChannelwiseResize',
        backend='pillow',
    )


def _view(size: tuple[int, int]) -> list[Step]:
    return [
        # Pad takes width and height.
        dict(type='Pad', size=size[::-1], pad_val=dict(img=0, seg=255)),
        dict(type='RandomCrop', crop_size=size),
        dict(type='RandomFlip', prob=0.5),
    ]


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
    train_pipeline: list[Step],
    test_scale: tuple[int, int],
    tta_scales: Sequence[float],
    tta_resizing: list[Step],
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
    return Recipe(train_pipeline, test_pipeline, list(tta_scales), tta_pipeline)
