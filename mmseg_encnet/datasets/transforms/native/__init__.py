"""Windows of resized images and small blurs with Pillow's bits, compiled at installation.

Pillow resizes the whole image before it can be cropped, and its box blur uses no vector
instructions. The kernels do both with the integer arithmetic of ``libImaging/Resample.c`` and
``libImaging/BoxBlur.c``. Before the first use, they are compared with the installed Pillow, and not
used if a single bit differs.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from mmseg_encnet.ops.native import NOT_BUILT, instruction_sets, load_kernels

__all__ = ['INSTRUCTION_SETS', 'NOT_BUILT', 'available', 'blurred', 'not_used', 'resized_window']

_POINTER, _INTEGER, _WEIGHT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint32
_LIBRARY = load_kernels(
    Path(__file__).parent,
    {
        'resample': (
            None,
            [
                _INTEGER,
                _POINTER,
                *[_INTEGER] * 2,
                *[_POINTER] * 2,
                *[_INTEGER] * 4,
                *[_POINTER] * 2,
            ],
        ),
        'blur': (
            None,
            [_INTEGER, _POINTER, *[_INTEGER] * 3, *[_WEIGHT] * 2, _INTEGER, *[_POINTER] * 2],
        ),
    },
)
INSTRUCTION_SETS = instruction_sets(_LIBRARY)
_RESAMPLE_BITS, _BLUR_BITS = 22, 24
# Box blurs in each direction that approximate a Gaussian one.
_PASSES = 3


def resized_window(
    image: np.ndarray, size: tuple[int, int], rows: slice, columns: slice
) -> np.ndarray | None:
    """Return a window of what ``PIL.Image.resize`` with the bilinear filter returns.

    Args:
        image: ``(H, W)`` or ``(H, W, C)``, uint8.
        size: Width and height of the whole resized image.
        rows: Rows of the window, which has at least one pixel.
        columns: Its columns.

    Returns:
        The window, uint8, or None if the kernels are not available or the image is neither grey
        nor has three channels.
    """
    return _resized_window(image, size, rows, columns) if _takes(image) else None


def blurred(image: np.ndarray, radius: float) -> np.ndarray | None:
    """Return what ``PIL.ImageFilter.GaussianBlur`` returns.

    Args:
        image: ``(H, W)`` or ``(H, W, C)``, uint8.
        radius: Standard deviation of the blur in pixels.

    Returns:
        The blurred image, uint8, or None if the kernels are not available, the image is neither
        grey nor has three channels, or the radius is too large for them.
    """
    return _blurred(image, radius) if _takes(image) else None


def _takes(image: np.ndarray) -> bool:
    return image.shape[2:] in ((), (3,)) and available()


@functools.cache
def available() -> bool:
    """Return whether the kernels were built and agree with the installed Pillow."""
    if not INSTRUCTION_SETS:
        return False
    image = (np.arange(13 * 17 * 3, dtype=np.uint32) * 2654435761 >> 24).astype(np.uint8)
    image = image.reshape(13, 17, 3)
    for size in ((29, 20), (9, 7)):
        whole = np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        window = _resized_window(image, size, slice(2, 7), slice(3, 9))
        if not np.array_equal(window, whole[2:7, 3:9]):
            return False
    for radius in (0.3, 0.9):
        expected = np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
        if not np.array_equal(_blurred(image, radius), expected):
            return False
    return True


@contextmanager
def not_used() -> Iterator[None]:
    """Leave all work to Pillow, as without a compiler at installation."""
    global INSTRUCTION_SETS
    before, INSTRUCTION_SETS = INSTRUCTION_SETS, {}
    available.cache_clear()
    try:
        yield
    finally:
        INSTRUCTION_SETS = before
        available.cache_clear()


def _resized_window(
    image: np.ndarray, size: tuple[int, int], rows: slice, columns: slice
) -> np.ndarray:
    image = np.ascontiguousarray(image)
    height, width = image.shape[:2]
    across, across_taps = _weights(width, size[0], columns)
    down, down_taps = _weights(height, size[1], rows)
    used = down[-1, 0] + down[-1, 1] - down[0, 0]
    out = np.empty((len(down), len(across), *image.shape[2:]), np.uint8)
    scratch = np.empty((used, *out.shape[1:]), np.uint8)
    assert _LIBRARY is not None
    _LIBRARY.resample(
        next(iter(INSTRUCTION_SETS.values())),
        image.ctypes.data,
        width,
        image.shape[2] if image.ndim == 3 else 1,
        across.ctypes.data,
        down.ctypes.data,
        len(across),
        len(down),
        across_taps,
        down_taps,
        scratch.ctypes.data,
        out.ctypes.data,
    )
    return out


def _weights(length: int, resized: int, window: slice) -> tuple[np.ndarray, int]:
    """Return the source pixels of a window of a resized line, and the most of one pixel.

    Returns:
        For each pixel the first source pixel, their number and their weights, int32. The operations
        and their order are Pillow's.
    """
    scale = length / resized
    support = max(scale, 1.0)
    centre = (np.arange(window.start, window.stop) + 0.5) * scale
    # The conversion to integers truncates.
    first = np.maximum((centre - support + 0.5).astype(np.int32), 0)
    count = np.minimum((centre + support + 0.5).astype(np.int32), length) - first
    taps = math.ceil(support) * 2 + 1
    tap = np.arange(taps)
    position = (tap + first[:, None] - centre[:, None] + 0.5) * (1.0 / support)
    weights = np.maximum(1.0 - np.abs(position), 0.0)
    weights[tap >= count[:, None]] = 0.0
    total = np.zeros(len(centre))
    for column in weights.T:
        total += column
    table = np.empty((len(centre), 2 + taps), np.int32)
    table[:, 0], table[:, 1] = first, count
    table[:, 2:] = 0.5 + weights / total[:, None] * (1 << _RESAMPLE_BITS)
    return table, taps


def _blurred(image: np.ndarray, radius: float) -> np.ndarray | None:
    if radius == 0:
        return image.copy()
    centre = _centre_weight(radius)
    if centre is None:
        return None
    image = np.ascontiguousarray(image)
    out, scratch = np.empty_like(image), np.empty_like(image)
    assert _LIBRARY is not None
    _LIBRARY.blur(
        next(iter(INSTRUCTION_SETS.values())),
        image.ctypes.data,
        *image.shape[:2],
        image.shape[2] if image.ndim == 3 else 1,
        centre,
        ((1 << _BLUR_BITS) - centre) // 2,
        _PASSES,
        scratch.ctypes.data,
        out.ctypes.data,
    )
    return out


def _centre_weight(radius: float) -> int | None:
    """Return the weight of the centre of a box of at most three pixels, as an integer.

    Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box filtering"
    (SSVM 2011), equations 7, 11 and 14, in single precision as in Pillow.

    Returns:
        The weight times 2^24, or None if the box is larger.
    """
    one = np.float32(1)
    variance = np.float32(radius) * np.float32(radius) / np.float32(_PASSES)
    if np.float32(math.sqrt(12.0 * float(variance) + 1.0)) >= 3:
        return None
    half = -3 * variance / (6 * (variance - one))
    return int(np.float32(1 << _BLUR_BITS) / (half * 2 + one))
