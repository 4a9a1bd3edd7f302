"""The matrix form of the encoding in plain torch operations.

Exporters know every operation in here, and torch can differentiate them any number of times. In
exchange a copy of the features is made, so the backends with a backward of their own train faster
and in less memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_LOGIT = -46.0


def compute_dtype(x: Tensor, codewords: Tensor) -> torch.dtype:
    """At least single precision: squared norms of half-precision features overflow."""
    return torch.promote_types(result_dtype(x, codewords), torch.float32)


def result_dtype(x: Tensor, codewords: Tensor) -> torch.dtype:
    """Dtype of the encoding; single precision where autocast mixes features and codewords."""
    return torch.promote_types(x.dtype, codewords.dtype)


def centred_assignment(
    x: Tensor, codewords: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Features and codewords about the codewords' mean, and the assignment weights.

    Residuals do not change when features and codewords move together, and about their mean the
    expanded squares cancel the fewest digits.

    Args:
        x: Features, ``(B, C, N)``.
        codewords: ``(K, C)``.
        scale: Smoothing factors, ``(K,)``.

    Returns:
        Features ``(B, C, N)``, codewords ``(K, C)`` and weights ``(B, K, N)``, in at least single
        precision.
    """
    x, codewords = _centred(x, codewords)
    distances = _expanded(x, codewords)
    return x, codewords, (scale.to(distances.dtype)[:, None] * distances).softmax(dim=1)


def squared_distances(x: Tensor, codewords: Tensor) -> Tensor:
    """Squared distances, ``(B, K, N)``, of features ``(B, C, N)`` to codewords ``(K, C)``."""
    return _expanded(*_centred(x, codewords))


def _centred(x: Tensor, codewords: Tensor) -> tuple[Tensor, Tensor]:
    dtype = compute_dtype(x, codewords)
    codewords = codewords.to(dtype)
    centre = codewords.mean(dim=0)
    return x.to(dtype) - centre[:, None], codewords - centre


def _expanded(x: Tensor, codewords: Tensor) -> Tensor:
    return (
        x.square().sum(dim=1, keepdim=True)
        - 2 * (codewords @ x)
        + codewords.square().sum(dim=1)[:, None]
    )


def encode(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    """Encoding, ``(B, K, C)``, of features ``(B, C, N)``."""
    dtype = result_dtype(x, codewords)
    x, codewords, weights = centred_assignment(x, codewords, scale)
    encoded = weights @ x.transpose(1, 2) - weights.sum(dim=2)[:, :, None] * codewords
    return encoded.to(dtype)


def soft_assignment(logits: Tensor) -> Tensor:
    """Softmax of logits ``(B, K, N)`` over the codewords.

    Weights stay above ``1e-20 / K``: below it they change no digit of a sum, but as denormal
    numbers they, and their gradients, slow matrix products on the CPU down ten times.
    """
    largest = logits.detach().amax(dim=1, keepdim=True)
    return (logits - largest).clamp(min=SMALLEST_LOGIT).softmax(dim=1)
