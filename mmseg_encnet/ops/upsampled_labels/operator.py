"""The labels of logits that are resized, from a few rows at a time.

The specification is ``F.interpolate`` of contiguous logits, once or twice, then ``argmax``: the
labels are the same, bit for bit, including ties.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_encnet.ops.interpolation import FEWEST_CHANNELS
from mmseg_encnet.ops.upsampled_labels import native

# torch interpolates results of a smaller height plus width with another kernel, which rounds
# differently.
_SMALLEST = 129
_ALL = slice(None)


class Resizing(NamedTuple):
    """A bilinear resizing, of whose result a part is kept, mirrored or not.

    Attributes:
        size: Height and width of the whole result.
        rows, columns: The part that is kept.
        flip_rows, flip_columns: Whether to mirror it.
    """

    size: tuple[int, int]
    rows: slice = _ALL
    columns: slice = _ALL
    flip_rows: bool = False
    flip_columns: bool = False

    def apply(self, maps: Tensor, align_corners: bool) -> Tensor:
        """Resize maps ``(B, C, h, w)`` with ``F.interpolate``, and return the part that is kept."""
        maps = F.interpolate(maps, self.size, mode='bilinear', align_corners=align_corners)
        return self.cut(maps)

    def cut(self, maps: Tensor) -> Tensor:
        """Return the part of resized maps that is kept."""
        maps = maps[:, :, self.rows, self.columns]
        flipped = [dim for dim, flip in ((2, self.flip_rows), (3, self.flip_columns)) if flip]
        return maps.flip(flipped) if flipped else maps


def upsampled_labels(
    logits: Tensor,
    resizings: Sequence[Resizing],
    *,
    align_corners: bool = False,
    absent: Tensor | None = None,
) -> Tensor | None:
    """Return the class with the largest score of each pixel, after resizing the scores.

    Args:
        logits: ``(C, h, w)``.
        resizings: One or two resizings, applied one after the other.
        align_corners: As in ``F.interpolate``.
        absent: Classes ``(C,)`` that no pixel is labelled with, bool.

    Returns:
        ``(H, W)``, int64; None for logits or on a machine that the kernels do not support.
    """
    if (
        not native.INSTRUCTION_SETS
        or torch.compiler.is_compiling()
        or logits.device.type != 'cpu'
        or logits.dtype != torch.float32
        or len(logits) < FEWEST_CHANNELS
        or len(resizings) > native.MOST_STAGES
        or any(sum(resizing.size) < _SMALLEST for resizing in resizings)
        or not logits.isfinite().all()
        or not _agrees_with_torch(align_corners)
    ):
        return None
    return native.labels(logits, resizings, align_corners, absent)


@functools.cache
def _agrees_with_torch(align_corners: bool) -> bool:
    """Return whether torch interpolates in the order and with the roundings of the kernels."""
    generator = torch.Generator().manual_seed(0)
    # Multiples of 1/7, so that in many pixels classes tie but for rounding.
    logits = torch.randint(-2, 3, (64, 13, 11), generator=generator) / 7.0
    for resizings in ([Resizing((157, 143))], [Resizing((70, 67)), Resizing((61, 90))]):
        maps = logits[None]
        for resizing in resizings:
            maps = resizing.apply(maps, align_corners)
        labels = native.labels(logits, resizings, align_corners, None)
        if labels is None or not torch.equal(labels, maps[0].argmax(dim=0)):
            return False
    return True
