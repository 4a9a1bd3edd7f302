"""Windows of resized images and labels, without resizing the pixels around them."""

from __future__ import annotations

import functools

import cv2
import mmcv
import numpy as np
from PIL import Image

from mmseg_encnet.datasets.transforms import native
from mmseg_encnet.datasets.transforms.through_pillow import through_pillow


def resized_window(
    image: np.ndarray, size: tuple[int, int], rows: slice, columns: slice, backend: str
) -> np.ndarray:
    """Return a window of an image that is resized with the bilinear filter.

    Every pixel equals that of the whole resized image to the bit.

    Args:
        image: ``(H, W)`` or ``(H, W, C)``; uint8 for ``pillow``.
        size: Width and height of the whole resized image.
        rows: Rows of the window.
        columns: Its columns.
        backend: ``pillow``, or ``cv2``, which resizes the whole image: OpenCV interpolates in the
            precision of single floats, so a window has other roundings.
    """
    if backend == 'cv2':
        return mmcv.imresize(image, size, backend='cv2')[rows, columns]
    window = native.resized_window(image, size, rows, columns)
    if window is not None:
        return window
    return through_pillow(image, lambda part: _pillow_window(part, size, rows, columns))


def _pillow_window(
    image: Image.Image, size: tuple[int, int], rows: slice, columns: slice
) -> Image.Image:
    """Resize one direction after the other as Pillow does, and crop between them."""
    needed = _source_rows(image.height, size[1], rows)
    strip = image.crop((0, needed.start, image.width, needed.stop))
    strip = strip.resize((size[0], strip.height), Image.Resampling.BILINEAR)
    strip = strip.crop((columns.start, 0, columns.stop, strip.height))
    # The phase of each row depends on the whole height.
    canvas = Image.new(image.mode, (strip.width, image.height))
    canvas.paste(strip, (0, needed.start))
    canvas = canvas.resize((strip.width, size[1]), Image.Resampling.BILINEAR)
    return canvas.crop((0, rows.start, canvas.width, rows.stop))


def _source_rows(height: int, resized: int, rows: slice) -> slice:
    """Return the source rows that affect a range of resized rows, or a few more."""
    scale = height / resized
    reach = max(scale, 1.0) + 1
    return slice(
        max(int((rows.start + 0.5) * scale - reach), 0),
        min(int((rows.stop - 0.5) * scale + reach) + 1, height),
    )


class ResizedLabel:
    """A label that is resized to the nearest pixels where it is read.

    Args:
        label: ``(H, W)``.
        size: Width and height of the resized label.
        backend: ``pillow`` or ``cv2``, which choose different pixels.
    """

    def __init__(self, label: np.ndarray, size: tuple[int, int], backend: str) -> None:
        self.label = label
        self.rows = _nearest(label.shape[0], size[1], backend)
        self.columns = _nearest(label.shape[1], size[0], backend)

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """Return the labels of rows and columns, as in the whole resized label."""
        across, down = self.columns[columns], self.rows[rows]
        used = self.label[down[0] : down[-1] + 1]
        return used.take(across, axis=1).take(down - down[0], axis=0)


@functools.lru_cache(maxsize=256)
def _nearest(length: int, resized: int, backend: str) -> np.ndarray:
    """Return the source pixel of each pixel of a resized line, as the backend chooses it."""
    line = np.arange(length, dtype=np.int32)[None]
    if backend == 'cv2':
        return cv2.resize(line, (resized, 1), interpolation=cv2.INTER_NEAREST)[0]
    return np.array(Image.fromarray(line).resize((resized, 1), Image.Resampling.NEAREST))[0]
