"""The matrices of bilinear interpolation, which factorises into rows and columns."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


@functools.lru_cache(maxsize=64)
def matrix(
    source: int, target: int, align_corners: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the matrix ``(source, target)`` that interpolates along one axis.

    Interpolating the unit vectors gives exactly the weights of ``F.interpolate``.
    """
    with torch.no_grad():
        unit = torch.eye(source, dtype=dtype, device=device)[None]
        return F.interpolate(unit, size=target, mode='linear', align_corners=align_corners)[0]


def sources(
    source: int, target: int, align_corners: bool, start: int, stop: int
) -> tuple[int, int]:
    """Return a range of entries that outputs ``start`` to ``stop`` depend on, one more either way.

    The margin covers rounding.
    """
    if align_corners:
        scale = (source - 1) / (target - 1) if target > 1 else 0.0
        first, last = scale * start, scale * (stop - 1)
    else:
        scale = source / target
        first, last = scale * (start + 0.5) - 0.5, scale * (stop - 0.5) - 0.5
    return max(0, math.floor(first) - 1), min(source, math.floor(last) + 3)


class Neighbours(NamedTuple):
    """Between which entries each output lies, along one axis.

    Attributes:
        first: Index of the first of the two entries, ``(target,)``, ascending. The next one of the
            last entry is the last entry.
        weights: Weights of the two, ``(target, 2)`` float32.
        start: The first output between each entry and the next one, ``(source + 1,)``.
    """

    first: Tensor
    weights: Tensor
    start: Tensor


@functools.lru_cache(maxsize=64)
def neighbours(
    source: int, target: int, align_corners: bool, dtype: torch.dtype, device: torch.device
) -> Neighbours:
    """Return the neighbours of all outputs, as indices of an integer `dtype`."""
    weights = matrix(source, target, align_corners, torch.float32, device).t()
    used = weights != 0
    last = (used * torch.arange(source, device=device)).amax(dim=1)
    first = last - (used.sum(dim=1) > 1).long()
    own = weights.gather(1, first[:, None])
    other = weights.gather(1, last[:, None]) * (last > first)[:, None]
    start = torch.searchsorted(first, torch.arange(source + 1, device=device))
    return Neighbours(first.to(dtype), torch.cat([own, other], dim=1), start.to(dtype))
