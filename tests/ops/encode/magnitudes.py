"""Problems of any magnitude, and the error bound that every backend has to meet on them.

Used by `test_magnitudes.py` and, in the interpreter, by `triton_interpreted.py`.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from test_encode import problem, run
from torch import Tensor

MAGNITUDES = (1e-38, 1e-30, 1e-20, 1e-10, 1.0, 1e4, 1e9, 1e15, 1e18)
SMOOTHING = (-1e3, -20.0, -1.0, 1.0, 1e3)
SPECIAL = {
    'all zero': lambda x: torch.zeros_like(x),
    'one-hot': lambda x: torch.zeros_like(x).index_fill_(1, torch.tensor([3]), 2.0),
    'denormal': lambda x: x * 1e-40,
    'one huge feature': lambda x: x.clone().index_fill_(3, torch.tensor([1]), 1e16),
}
NAMES = ('encoding', 'x', 'codewords', 'scale')
LARGEST, SMALLEST = torch.finfo(torch.float32).max, torch.finfo(torch.float32).tiny


class Case(NamedTuple):
    """Float32 tensors of an encoding, with the gradient of its result."""

    x: Tensor
    codewords: Tensor
    scale: Tensor
    grad: Tensor

    @property
    def overflows(self) -> bool:
        """Whether a squared distance or a logit exceeds single precision."""
        x, codewords, scale = (t.double() for t in self[:3])
        distances = (x.flatten(2)[:, None] - codewords[None, :, :, None]).square().sum(2)
        largest = distances.amax() * scale.abs().amax().clamp(min=1)
        return bool(largest > LARGEST / 4)


def cases(channels: int = 24, codes: int = 5, height: int = 6, width: int = 7):
    """Yield every magnitude with every smoothing; codewords as published or scaled as the features.

    Each of the five smoothing factors has its own seed.
    """
    for magnitude, (seed, smoothing), scaled in itertools.product(
        MAGNITUDES, enumerate(SMOOTHING), (False, True)
    ):
        x, codewords, scale, grad = problem(2, channels, height, width, codes, seed=seed)
        factor = magnitude if scaled else 1.0
        name = f'{magnitude:g}, smoothing {smoothing:g}' + ', scaled codewords' * scaled
        yield name, Case(x * magnitude, codewords * factor, scale * -smoothing, grad)


def special_cases():
    x, *rest = problem(2, 24, 6, 7, 5)
    for name, change in SPECIAL.items():
        yield name, Case(change(x), *rest)


def check(backend: str, case: Case, retries: bool = True) -> None:
    """Compare a backend with double precision, including gradients.

    Args:
        backend: Name of the backend.
        case: The tensors.
        retries: Whether the backend computes overflowing squares in double precision. Others
            may return NaN for them, but never a wrong number.
    """
    results = run(backend, *case)
    if case.overflows and not retries and not all(r.isfinite().all() for r in results):
        return
    expected = run('dense', *case, dtype=torch.float64)
    literal = run('reference', *case)
    for name, result, value, plain in zip(NAMES, results, expected, literal):
        largest = value.abs().max().item()
        error = (result.double() - value).abs().max().item()
        allowed = (plain.double() - value).abs().max().item()
        bound = max(1e-5 * largest, 10 * allowed if math.isfinite(allowed) else 0.0)
        # Products below the smallest normal number are flushed to zero.
        assert error <= bound + value.numel() * SMALLEST, (name, error, largest, allowed)


def check_not_finite(backend: str, value: float) -> None:
    """Check that a NaN or infinite feature makes its image NaN and leaves the other one alone."""
    case = Case(*problem(2, 24, 6, 7, 5, smoothing=0.1))
    x = case.x.clone()
    x[1, 2, 3, 4] = value
    clean, spoilt = run(backend, *case), run(backend, x, *case[1:])
    assert torch.equal(spoilt[0][0], clean[0][0])
    assert spoilt[0][1].isnan().all()
    assert torch.equal(spoilt[1][0], clean[1][0])
    assert spoilt[1][1, :, 3, 4].isnan().all()
    assert spoilt[2].isnan().all() and spoilt[3].isnan().all()
    codewords = case.codewords.clone()
    codewords[0, 0] = value
    assert run(backend, case.x, codewords, *case[2:])[0].isnan().any(dim=2).all()
