"""Draw the shapes of annotation tools, each as its tool does."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from mmseg_encnet.disk import shown
from mmseg_encnet.workbench.converters.coco_format import decode_segmentation

Point = tuple[float, float]
# Of a circle around the largest image; more corners cannot be seen.
_LARGEST_RADIUS = 100_000


def covered(points: Sequence[Point], shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels, ``(H, W)`` bool, that a polygon covers by COCO's rule.

    Coordinates are those of pixel corners: the polygon (0, 0), (2, 0), (2, 1), (0, 1) covers the
    first two pixels of the first row. CVAT exports masks by the same rule.

    Raises:
        ValueError: The polygon is invalid.
    """
    # Corners outside the image are allowed, far outside too.
    height, width = shape
    corners = np.asarray(points, float)
    if not np.isfinite(corners).all():
        raise ValueError('a corner is not a number')
    corners = corners.clip(-0.5 * max(shape), 1.5 * max(shape))
    return decode_segmentation([corners.ravel().tolist()], (height, width))


def ellipse(centre: Point, radii: Point, angle: float = 0.0) -> list[Point]:
    """Return an ellipse as a polygon; the angle is in degrees, clockwise."""
    count = max(16, math.ceil(2 * min(max(radii), _LARGEST_RADIUS)))
    turns = [2 * math.pi * index / count for index in range(count)]
    corners = [
        (centre[0] + radii[0] * math.cos(turn), centre[1] + radii[1] * math.sin(turn))
        for turn in turns
    ]
    return rotated(corners, centre, angle)


def rotated(points: Sequence[Point], centre: Point, angle: float) -> list[Point]:
    """Return points rotated about a centre by an angle in degrees, clockwise in an image."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return [
        (
            centre[0] + cosine * (x - centre[0]) - sine * (y - centre[1]),
            centre[1] + sine * (x - centre[0]) + cosine * (y - centre[1]),
        )
        for x, y in points
    ]


def painted(kind: str, points: Sequence[Point], shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels, ``(H, W)`` bool, of a LabelMe shape, outline included.

    LabelMe draws with Pillow and the same arguments.

    Raises:
        ValueError: The kind is unknown, or the number of points does not fit it.
    """
    height, width = shape
    canvas = Image.new('1', (width, height))
    pen = ImageDraw.Draw(canvas)
    expected = dict(rectangle=2, circle=2, line=2, point=1)
    if kind in expected and len(points) != expected[kind]:
        raise ValueError(f'a {kind} has {len(points)} points, expected {expected[kind]}')
    if kind == 'polygon':
        if len(points) < 3:
            raise ValueError(f'a polygon has {len(points)} points, expected at least 3')
        pen.polygon(points, outline=1, fill=1)
    elif kind == 'rectangle':
        (x0, y0), (x1, y1) = points
        pen.rectangle([min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)], outline=1, fill=1)
    elif kind == 'circle':
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline=1, fill=1)
    elif kind in ('line', 'linestrip'):
        pen.line(points, fill=1, width=10)
    elif kind == 'point':
        x, y = points[0]
        pen.ellipse([x - 5, y - 5, x + 5, y + 5], outline=1, fill=1)
    else:
        raise ValueError(f'a shape has the unknown type {shown(kind)!r}')
    return np.asarray(canvas)


def paste(canvas_shape: tuple[int, int], mask: np.ndarray, left: int, top: int) -> np.ndarray:
    """Return a mask ``(h, w)`` at a place in an image, ``(H, W)`` bool."""
    result = np.zeros(canvas_shape, bool)
    x, y = max(left, 0), max(top, 0)
    part = mask[y - top :, x - left :]
    part = part[: max(canvas_shape[0] - y, 0), : max(canvas_shape[1] - x, 0)]
    result[y : y + part.shape[0], x : x + part.shape[1]] = part
    return result
