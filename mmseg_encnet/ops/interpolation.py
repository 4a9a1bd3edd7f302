"""Bilinear interpolation, which factorises into rows and columns, as torch computes it."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# torch interpolates fewer channels with another kernel, which may round differently.
FEWEST_CHANNELS = 4


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


class AxisWeights(NamedTuple):
    """Between which entries each output lies, with the weights that torch computes.

    Unlike :class:`Neighbours`, outputs beyond the last entry have two weights, both of that entry:
    torch multiplies and adds them, which rounds.

    Attributes:
        first: Index of the first of the two entries, ``(target,)``, int64. The next one of the last
            entry is the last entry.
        weights: Weights of the two, ``(target, 2)`` float32.
    """

    first: Tensor
    weights: Tensor


@functools.lru_cache(maxsize=64)
def axis_weights(source: int, target: int, align_corners: bool) -> AxisWeights | None:
    """Return the neighbours of all outputs on the CPU; None if torch's weights are others."""
    last = source - 1
    output = torch.arange(target, dtype=torch.float32)
    if align_corners:
        scale = torch.tensor(last, dtype=torch.float32) / max(target - 1, 1)
        positions = [output * scale]
    else:
        scale = torch.tensor(source, dtype=torch.float32) / target
        centre = output + 0.5
        # With and without a fused multiplication and addition, depending on torch's build.
        positions = [centre * scale - 0.5, (centre.double() * scale.double() - 0.5).float()]
    parity = torch.arange(source) % 2
    expected = F.interpolate(
        torch.stack([parity == 0, parity == 1]).float()[None],
        size=target,
        mode='linear',
        align_corners=align_corners,
    )[0]
    for position in positions:
        position = position.clamp(min=0)
        first = position.long().clamp(max=last)
        other = (position - first).clamp(0, 1)
        weights = torch.stack([1 - other, other], dim=1)
        found = torch.zeros_like(expected)
        found.scatter_add_(0, parity[first][None], weights[None, :, 0])
        found.scatter_add_(0, parity[(first + 1).clamp(max=last)][None], weights[None, :, 1])
        if torch.equal(found, expected):
            return AxisWeights(first, weights)
    return None
