"""Resizing, padding and cropping in one step that computes only the pixels of the crop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmcv.image.geometric import rescale_size
from mmcv.transforms import BaseTransform, Pad, RandomResize, Resize
from mmseg.datasets.transforms import RandomCrop
from mmseg.registry import TRANSFORMS

from mmseg_encnet.datasets.transforms.channelwise_resize import ChannelwiseResize
from mmseg_encnet.datasets.transforms.random_short_side_resize import RandomShortSideResize
from mmseg_encnet.datasets.transforms.window import ResizedLabel, resized_window
from mmseg_encnet.errors import UserError

Step = Callable[[dict[str, Any]], dict[str, Any] | None]

# The toolbox has one of its own, which also resizes further label maps.
_RESIZERS = (Resize, ChannelwiseResize, TRANSFORMS.get('Resize'))
_TRIES = 10


@TRANSFORMS.register_module()
class ResizeAndCrop(BaseTransform):
    """Resize and crop image and label as the given transforms do, without the discarded pixels.

    Pixels, labels, metadata and random numbers equal those of the transforms one after the other,
    to the bit. With Pillow, only the pixels of the crop are computed. With OpenCV, whose rounding
    depends on the position, the image is resized as a whole, but only the labels of the crop.
    Samples with anything else to resize (boxes, key points, further label maps) and, for Pillow,
    images that are not 8-bit RGB or grey pass through the transforms one after the other.

    The data sets of this package replace such transforms in any pipeline, see :func:`combined`; in
    other pipelines, write::

        dict(
            type='ResizeAndCrop',
            transforms=[
                dict(type='RandomShortSideResize', base_size=520),
                dict(type='RandomCrop', crop_size=(480, 480)),
            ],
        )

    Args:
        transforms: ``Resize``, ``RandomResize`` or ``RandomShortSideResize`` with bilinear
            interpolation, optionally ``Pad`` to a fixed size with a constant, and ``RandomCrop``;
            configs or transforms.

    Raises:
        UserError: ``transforms`` are others.
    """

    def __init__(self, transforms: Sequence[dict[str, Any] | Step]) -> None:
        self.transforms = [
            TRANSFORMS.build(step) if isinstance(step, dict) else step for step in transforms
        ]
        if not _can_combine(self.transforms):
            names = ', '.join(type(step).__name__ for step in self.transforms)
            raise UserError(
                f'got transforms {names} of ResizeAndCrop, expected Resize, RandomResize or '
                'RandomShortSideResize with bilinear interpolation, optionally Pad to a size with '
                'a constant, and RandomCrop.'
            )

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Resize, pad and crop ``img`` and, if present, ``gt_seg_map``."""
        resize, *pads, crop = self.transforms
        resizer = getattr(resize, 'resize', resize)
        if not _only_pixels(results, resizer.backend):
            passed: dict[str, Any] | None = results
            for step in self.transforms:
                passed = step(passed)
                if passed is None:
                    return None
            return passed
        image = results['img']
        width, height = _resized_size(resize, results)
        padded = (height, width)
        for pad in pads:
            padded = (max(height, pad.size[1]), max(width, pad.size[0]))
        label = results.get('gt_seg_map')
        resized_label = (
            None if label is None else ResizedLabel(label, (width, height), resizer.backend)
        )

        def labels(box: tuple[int, int, int, int]) -> np.ndarray:
            rows, columns = _slices(box, (height, width))
            assert resized_label is not None
            content = dict(gt_seg_map=resized_label.window(rows, columns))
            return _padded(content, box, padded, pads)['gt_seg_map']

        box = _draw_box(crop, padded, labels)
        rows, columns = _slices(box, (height, width))
        window = resized_window(image, (width, height), rows, columns, resizer.backend)
        results['img'] = _padded(dict(img=window), box, padded, pads)['img']
        if label is not None:
            results['gt_seg_map'] = labels(box)
        results['scale_factor'] = (width / image.shape[1], height / image.shape[0])
        results['keep_ratio'] = resizer.keep_ratio
        for pad in pads:
            results['pad_shape'] = (*padded, *image.shape[2:])
            results['pad_fixed_size'] = pad.size
            results['pad_size_divisor'] = pad.size_divisor
        results['img_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(transforms={self.transforms})'


def combined(transforms: Sequence[Step]) -> list[Step]:
    """Return transforms with :class:`ResizeAndCrop` in place of those that it can replace."""
    steps: list[Step] = []
    index = 0
    while index < len(transforms):
        for length in (3, 2):
            part = transforms[index : index + length]
            if _can_combine(part):
                steps.append(ResizeAndCrop(part))
                index += length
                break
        else:
            steps.append(transforms[index])
            index += 1
    return steps


def _can_combine(transforms: Sequence[Any]) -> bool:
    """Return whether transforms are those that :class:`ResizeAndCrop` accepts.

    Subclasses may do anything else.
    """
    if len(transforms) not in (2, 3):
        return False
    resize, *pads, crop = transforms
    if type(resize) not in (*_RESIZERS, RandomResize, RandomShortSideResize):
        return False
    resizer = getattr(resize, 'resize', resize)
    return (
        type(resizer) in _RESIZERS
        and resizer.interpolation == 'bilinear'
        and (resizer is not resize or bool(resizer.scale))
        and type(crop) is RandomCrop
        and all(type(pad) is Pad and _pads_to_crop(pad, crop) for pad in pads)
    )


def _pads_to_crop(pad: Pad, crop: RandomCrop) -> bool:
    """Return whether padding is constant and at most as large as the crop.

    Then every crop contains a part of the image.
    """
    return (
        pad.padding_mode == 'constant'
        and pad.size is not None
        and pad.size[1] <= crop.crop_size[0]
        and pad.size[0] <= crop.crop_size[1]
    )


def _only_pixels(results: dict[str, Any], backend: str) -> bool:
    """Return whether a sample has nothing to resize or crop but an image and its label."""
    image, label = results.get('img'), results.get('gt_seg_map')
    fields = list(results.get('seg_fields', []))
    return (
        isinstance(image, np.ndarray)
        and image.ndim in (2, 3)
        and image.size > 0
        and (backend == 'cv2' or (image.dtype == np.uint8 and image.shape[2:] in ((), (3,))))
        and (fields == [] if label is None else fields == ['gt_seg_map'])
        and (label is None or (label.dtype == np.uint8 and label.ndim == 2))
        and results.get('gt_bboxes') is None
        and results.get('gt_keypoints') is None
    )


def _resized_size(resize: Any, results: dict[str, Any]) -> tuple[int, int]:
    """Draw the scale as the transform does, and return width and height of the resized image."""
    height, width = results['img'].shape[:2]
    if isinstance(resize, RandomShortSideResize):
        results['scale'] = resize.draw_size(height, width)
    elif isinstance(resize, RandomResize):
        results['scale'] = resize._random_scale()
    else:
        results['scale'] = resize.scale
    if getattr(resize, 'resize', resize).keep_ratio:
        return rescale_size((width, height), results['scale'])
    return results['scale']


def _draw_box(
    crop: RandomCrop,
    shape: tuple[int, int],
    labels: Callable[[tuple[int, int, int, int]], np.ndarray],
) -> tuple[int, int, int, int]:
    """Draw top, bottom, left and right of the crop as the transform does.

    Args:
        crop: The transform.
        shape: Height and width of the padded image.
        labels: Function that returns the labels in a box.
    """

    def draw() -> tuple[int, int, int, int]:
        top = np.random.randint(0, max(shape[0] - crop.crop_size[0], 0) + 1)
        left = np.random.randint(0, max(shape[1] - crop.crop_size[1], 0) + 1)
        return top, top + crop.crop_size[0], left, left + crop.crop_size[1]

    box = draw()
    if crop.cat_max_ratio < 1:
        for _ in range(_TRIES):
            counts = np.bincount(labels(box).ravel(), minlength=256)
            if 0 <= crop.ignore_index < len(counts):
                counts[crop.ignore_index] = 0
            if np.count_nonzero(counts) > 1 and (counts.max() / counts.sum() < crop.cat_max_ratio):
                break
            box = draw()
    return box


def _slices(box: tuple[int, int, int, int], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of a box that lie inside an image of this shape."""
    top, bottom, left, right = box
    return slice(top, min(bottom, shape[0])), slice(left, min(right, shape[1]))


def _padded(
    content: dict[str, Any],
    box: tuple[int, int, int, int],
    shape: tuple[int, int],
    pads: Sequence[Pad],
) -> dict[str, Any]:
    """Pad the part of a box inside the image to that inside the padded image."""
    rows, columns = _slices(box, shape)
    size = (rows.stop - rows.start, columns.stop - columns.start)
    for pad in pads:
        [(key, pixels)] = content.items()
        if pixels.shape[:2] == size:
            continue
        part = Pad(size=size[::-1], pad_val=pad.pad_val)
        if key == 'img':
            part._pad_img(content)
        else:
            content['pad_shape'] = size
            part._pad_seg(content)
    return content
