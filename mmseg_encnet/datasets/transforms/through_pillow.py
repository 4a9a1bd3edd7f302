"""Pillow's operations for images of any number of channels and depth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image


def through_pillow(image: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Apply an operation of Pillow to an image.

    Images of one or three channels of 8 bits are processed as a whole, all others channel by
    channel: Pillow takes the second of two and the fourth of four channels as transparency, by
    which it multiplies the others.

    Args:
        image: ``(H, W)`` or ``(H, W, C)``, uint8, or another dtype that is processed as float32 and
            then rounded.
        change: The operation, for images of the modes L, RGB and F.

    Returns:
        The changed image with the dtype and the number of dimensions of ``image``.
    """
    if image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2] == 3):
        return np.array(change(Image.fromarray(image)))
    channels = []
    for channel in np.moveaxis(np.atleast_3d(image), 2, 0):
        plain = channel if image.dtype == np.uint8 else channel.astype(np.float32)
        channels.append(np.array(change(Image.fromarray(np.ascontiguousarray(plain)))))
    changed = np.stack(channels, axis=2)
    if np.issubdtype(image.dtype, np.integer) and changed.dtype != image.dtype:
        bounds = np.iinfo(image.dtype)
        changed = np.rint(changed).clip(bounds.min, bounds.max)
    return changed.astype(image.dtype).reshape(*changed.shape[:2], *image.shape[2:])
