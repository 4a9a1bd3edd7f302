"""The matrices of bilinear interpolation, which factorises into rows and columns."""

from __future__ import annotations

import functools
import math

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


@functools.lru_cache(maxsize=64)
def neighbours(source: int, target: int, align_corners: bool) -> tuple[Tensor, Tensor]:
    """Return the two entries that each output lies between, on the CPU.

    Returns:
        The index of the first one, ``(target,)`` int64, and the weights of that and the next one,
        ``(target, 2)`` float32. The next one of the last entry is the last entry.
    """
    weights = matrix(source, target, align_corners, torch.float32, torch.device('cpu')).t()
    used = weights != 0
    last = (used * torch.arange(source, device='cpu')).amax(dim=1)
    first = last - (used.sum(dim=1) > 1).long()
    own = weights.gather(1, first[:, None])
    return first, torch.cat([own, weights.gather(1, last[:, None]) * (last > first)[:, None]], 1)
