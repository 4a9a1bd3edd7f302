"""Numerical conventions that the operators share: dtypes, centring, norms and thresholds."""

from __future__ import annotations

import contextlib
import math
from contextlib import AbstractContextManager

import torch
from torch import Tensor

# Assignment weights below this change no digit of a sum, not even in double precision. As denormal
# numbers they would make CPU matrix products ten times slower, so they are set to zero.
NEGLIGIBLE = 1e-20
SMALLEST_LOGIT = math.log(NEGLIGIBLE) - 1

# Channels squared at a time, and the number of elements from which a second thread pays off.
_NORM_CHANNELS = 32
_NORM_BLOCK = 2**17


def result_dtype(x: Tensor, codewords: Tensor) -> torch.dtype:
    """Return the dtype of a result; single precision where autocast mixes its inputs."""
    return torch.promote_types(x.dtype, codewords.dtype)


def compute_dtype(x: Tensor, codewords: Tensor) -> torch.dtype:
    """Return a dtype of at least single precision: squared norms overflow half precision."""
    return torch.promote_types(result_dtype(x, codewords), torch.float32)


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Return a context in which autocast is off, on devices that support autocast."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


def shared_offset(codewords: Tensor) -> Tensor | None:
    """Return the offset to subtract from features and codewords, ``(C,)``, or None to keep them.

    Residuals do not change when features and codewords move together, and the expanded square
    ``|x|^2 - 2 x.d + |d|^2`` loses the fewest digits about the mean of the codewords.
    """
    centre = codewords.mean(dim=0)
    if codewords.device.type == 'cpu':
        spread = (codewords - centre).square().sum() / codewords.shape[0]
        # With |c|^2 at most a quarter of the spread, (|x| + |d|)^2 is at most four times what
        # centring leaves.
        if 4 * centre.square().sum() <= spread:
            return None
    # On other devices the comparison would synchronise with the host.
    return centre


def centred(x: Tensor, codewords: Tensor) -> tuple[Tensor, Tensor]:
    """Return features and codewords in the compute dtype, centred where they share an offset."""
    dtype = compute_dtype(x, codewords)
    x, codewords = x.to(dtype), codewords.to(dtype)
    centre = shared_offset(codewords)
    return (x, codewords) if centre is None else (x - centre[:, None], codewords - centre)


def exact_inner(left: Tensor, right: Tensor) -> Tensor:
    """Return inner products over the last axis, rounded once.

    They enter every position alike, so their rounding errors would not average out.
    """
    wide = left.dtype if left.device.type == 'mps' else torch.float64
    return (left.to(wide) * right).sum(dim=-1).to(left.dtype)


def squared_norms(x: Tensor) -> Tensor:
    """Return the squared norms over the channels, ``(B, C, n)`` -> ``(B, 1, n)``."""
    if x.stride(1) == 1:
        return torch.linalg.vector_norm(x, dim=1, keepdim=True).square_()
    block = max(_NORM_CHANNELS, _NORM_BLOCK // max(1, x.shape[0] * x.shape[2]))
    first, *others = x.split(block, dim=1)
    squares = first.square()
    for part in others:
        squares[:, : part.shape[1]].addcmul_(part, part)
    return squares.sum(dim=1, keepdim=True)
