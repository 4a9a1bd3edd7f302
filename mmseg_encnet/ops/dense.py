"""The encoding as matrix products."""

from __future__ import annotations

import torch
from torch import Tensor


def _centred(x: Tensor, codewords: Tensor) -> tuple[Tensor, Tensor]:
    # Residuals do not change when features and codewords move together; about the codewords' mean
    # the expanded squares cancel no digits.
    centre = codewords.mean(dim=0)
    return x - centre[:, None], codewords - centre


def _assign_centred(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    distances = (
        x.square().sum(dim=1, keepdim=True)
        - 2 * (codewords @ x)
        + codewords.square().sum(dim=1)[:, None]
    )
    return (scale[:, None] * distances).softmax(dim=1)


def assign(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    return _assign_centred(*_centred(x, codewords), scale)


def encode(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    x, codewords = _centred(x, codewords)
    weights = _assign_centred(x, codewords, scale)
    return weights @ x.transpose(1, 2) - weights.sum(dim=2)[:, :, None] * codewords
