"""Sliding windows: their positions, the padding and the average of their maps.

All predictions of windows go through :func:`average_maps`: those of
:class:`ContextEncoderDecoder` (and so the views of :class:`ContextTTAModel`) and those of
:class:`PublishedTTAModel`. The toolbox's own loop does not expose the position of a window, which
context maps need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmseg_encnet.errors import UserError


class Window(NamedTuple):
    """A part of the network's input that is processed in one forward pass."""

    rows: slice
    columns: slice

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


def place_windows(
    size: Sequence[int], crop_size: Sequence[int], stride: Sequence[int], shift_last: bool
) -> list[Window]:
    """Return the windows that cover an input, row by row.

    Args:
        size: Height and width of the input.
        crop_size: Height and width of a window.
        stride: Vertical and horizontal distance between windows.
        shift_last: Whether the last window of a row or column moves inwards to lie inside the
            input, as in MMSegmentation. Otherwise it keeps its position and is cut off at the
            border, as in PyTorch-Encoding.
    """
    rows, columns = (
        _starts_and_stops(*lengths, shift_last) for lengths in zip(size, crop_size, stride)
    )
    return [Window(row, column) for row in rows for column in columns]


def check_windows(test_cfg: Mapping[str, Any] | None) -> None:
    """Check how a segmentor divides images into windows.

    Args:
        test_cfg: ``mode`` is ``'whole'`` (the default) or ``'slide'``; the latter needs
            ``crop_size`` and ``stride``, each a height and a width in pixels.

    Raises:
        UserError: The mode is unknown, or the windows do not cover the image.
    """
    test_cfg = test_cfg or {}
    mode = test_cfg.get('mode', 'whole')
    if mode not in ('whole', 'slide'):
        raise UserError(f"model.test_cfg.mode must be 'whole' or 'slide', got {mode!r}.")
    if mode == 'whole':
        return
    sizes: dict[str, Sequence[int]] = {}
    for key in ('crop_size', 'stride'):
        size = test_cfg.get(key)
        if (
            not isinstance(size, Sequence)
            or len(size) != 2
            or not all(isinstance(length, int) and length > 0 for length in size)
        ):
            raise UserError(
                f"model.test_cfg.mode='slide' needs {key}, a height and a width in pixels, got "
                f'{size}; set e.g. crop_size=(480, 480) and stride=(320, 320).'
            )
        sizes[key] = size
    if any(step > length for step, length in zip(sizes['stride'], sizes['crop_size'])):
        raise UserError(
            f'got model.test_cfg.stride={tuple(sizes["stride"])} for windows of '
            f'crop_size={tuple(sizes["crop_size"])}, which leaves pixels between the windows; '
            'reduce the stride.'
        )


def pad(image: Tensor, size: Sequence[int], value: Tensor) -> Tensor:
    """Pad an image at the bottom and on the right to at least the given size.

    Args:
        image: ``(1, C, H, W)``.
        size: Minimum height and width.
        value: Value of the padding ``(C, 1, 1)`` or, the same for all channels, ``(1, 1, 1)``.
    """
    height, width = image.shape[2:]
    rows, columns = max(size[0], height), max(size[1], width)
    if (rows, columns) == (height, width):
        return image
    padded = value.to(image).expand(1, image.shape[1], rows, columns).clone()
    padded[:, :, :height, :width] = image
    return padded


def average_maps(windows: Iterable[Window], maps: Iterable[Tensor], size: Sequence[int]) -> Tensor:
    """Average the maps of windows over the number of windows that contain each pixel.

    Args:
        windows: Windows that cover the input.
        maps: For each window ``(B, C, h, w)``, at least as large as the window; the bottom and
            the right of a larger map are padding.
        size: Height H and width W of the input.

    Returns:
        ``(B, C, H, W)``. The dtype is that of the maps if one window covers the input, and at
        least float32 otherwise.
    """
    total = count = None
    for window, part in zip(windows, maps):
        height, width = window.size
        part = part[:, :, :height, :width]
        if window.size == tuple(size):
            return part
        if total is None or count is None:
            dtype = torch.promote_types(part.dtype, torch.float32)
            total = part.new_zeros(*part.shape[:2], *size, dtype=dtype)
            count = total.new_zeros(*size)
        total[:, :, window.rows, window.columns] += part
        count[window.rows, window.columns] += 1
    assert total is not None and count is not None, 'no windows'
    return total.div_(count)


def _starts_and_stops(side: int, crop: int, stride: int, shift_last: bool) -> list[slice]:
    count = max(side - crop + stride - 1, 0) // stride + 1
    starts = [i * stride for i in range(count)]
    if shift_last:
        starts = [max(min(start, side - crop), 0) for start in starts]
    return [slice(start, min(start + crop, side)) for start in starts]
