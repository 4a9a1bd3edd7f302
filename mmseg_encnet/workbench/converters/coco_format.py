"""Reading annotation files in COCO's format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmseg_encnet.errors import UserError, type_and_first_line
from mmseg_encnet.extras import require
from mmseg_encnet.plain_json import read_json
from mmseg_encnet.values import MAX_PIXELS, brief
from mmseg_encnet.workbench.converters import run_length
from mmseg_encnet.workbench.converters.archives import START_OVER
from mmseg_encnet.workbench.formatting import check_file_size

# The published files have up to 600 MB, 123,000 images and 900,000 segments.
MAX_BYTES, MAX_IMAGES, MAX_SEGMENTS = 2 << 30, 1_000_000, 10_000_000
_LIMITS = dict(images=MAX_IMAGES, annotations=MAX_SEGMENTS, annos_segmentation=MAX_SEGMENTS)
_Parsed = TypeVar('_Parsed')


def read_annotations(
    path: Path, parse: Callable[[Any], _Parsed], kind: str, advice: str
) -> _Parsed:
    """Return what a function finds in an annotation file.

    Args:
        path: JSON file.
        parse: Function of the content; it names neither file nor advice in its errors.
        kind: Name of the format.
        advice: What to do about a faulty file.

    Raises:
        UserError: The file is missing, incomplete, too large or of another format.
    """
    check_file_size(path, MAX_BYTES, advice)
    try:
        content = read_json(path)
    except FileNotFoundError as error:
        raise UserError(f'{path} is missing; {START_OVER}') from error
    except UserError as error:
        raise UserError(f'{error}; {advice}') from error
    try:
        _check_counts(content)
        return parse(content)
    except UserError as error:
        raise UserError(f'{path} {error}; {advice}') from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{path} does not have the format of {kind} ({type_and_first_line(error)}); {advice}'
        ) from error


def _check_counts(content: Any) -> None:
    for key, limit in _LIMITS.items():
        if key in content and len(content[key]) > limit:
            raise UserError(f'lists {len(content[key]):,} {key}, expected at most {limit:,}')


def read_image(image: Mapping[str, Any]) -> tuple[str, tuple[int, int]]:
    """Return file name, and height and width in pixels, of an entry of ``images``."""
    name, shape = image['file_name'], (image['height'], image['width'])
    if not isinstance(name, str) or Path(name).name != name or not name.endswith('.jpg'):
        raise UserError(f'lists the image {brief(name)}, expected the name of a JPEG file')
    for key, side in zip(('height', 'width'), shape):
        if type(side) is not int or not 0 < side < 100_000:
            raise UserError(f'gives the {key} of {name} as {brief(side)}, expected pixels')
    if shape[0] * shape[1] > MAX_PIXELS:
        raise UserError(
            f'gives {name} {shape[0]}x{shape[1]} pixels (height x width), which exceeds the limit '
            f'of {MAX_PIXELS:,}'
        )
    return name, shape


def decode_run_length(mask: Mapping[str, Any], shape: tuple[int, int]) -> np.ndarray:
    """Return a run-length mask, ``(H, W)`` bool.

    Raises:
        ValueError: The size differs from that of the image, or the counts are invalid.
    """
    height, width = mask['size']
    if (height, width) != shape:
        raise ValueError(
            f'{brief(width)} x {brief(height)} pixels in an image of {shape[1]} x {shape[0]}'
        )
    return run_length.decode(mask['counts'], *shape)


def decode_segmentation(segmentation: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return the mask, ``(H, W)`` bool, given by polygons or run lengths.

    Raises:
        UserError: There are polygons, and pycocotools is not installed.
        ValueError: The mask is invalid; or KeyError, TypeError, IndexError.
    """
    if isinstance(segmentation, dict):
        return decode_run_length(segmentation, shape)
    for polygon in segmentation:
        _check_polygon(polygon, shape)
    # pycocotools defines which pixels a polygon covers.
    coco_mask = require('pycocotools.mask', 'data')
    masks = coco_mask.frPyObjects(segmentation, *shape)
    # Decoded one by one, thousands of polygons would take as many times the memory.
    return coco_mask.decode(coco_mask.merge(masks)).astype(bool)


def _check_polygon(polygon: Any, shape: tuple[int, int]) -> None:
    """Refuse polygons that make pycocotools exhaust memory or read outside its buffers."""
    try:
        corners = np.asarray(polygon, float)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError('a polygon is not a list of numbers') from error
    if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2:
        raise ValueError('a polygon is not a list of at least three corners')
    # Written with `not` so that NaN is refused.
    if not (np.abs(corners) <= 2 * max(shape)).all():
        raise ValueError('a polygon extends far outside the image')
