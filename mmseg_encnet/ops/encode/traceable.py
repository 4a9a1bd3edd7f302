"""The matrix form of the encoding in plain torch operations.

Exporters support all of these operations, and torch can differentiate them any number of times.
The price is a copy of the features: the backends with a hand-written backward are faster and need
less memory.
"""

from __future__ import annotations

from torch import Tensor

from mmseg_encnet.ops.distances import expanded_squares
from mmseg_encnet.ops.numerics import compute_dtype, result_dtype


def centred_assignment(
    x: Tensor, codewords: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return features and codewords about the codewords' mean, and the assignment weights.

    Args:
        x: Features, ``(B, C, N)``.
        codewords: ``(K, C)``.
        scale: Smoothing factors, ``(K,)``.

    Returns:
        Features ``(B, C, N)``, codewords ``(K, C)`` and weights ``(B, K, N)``, in at least single
        precision.
    """
    dtype = compute_dtype(x, codewords)
    codewords = codewords.to(dtype)
    centre = codewords.mean(dim=0)
    x, codewords = x.to(dtype) - centre[:, None], codewords - centre
    logits = scale.to(dtype)[:, None] * expanded_squares(x, codewords)
    return x, codewords, logits.softmax(dim=1)


def encode(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    """Return the encoding ``(B, K, C)`` of features ``(B, C, N)``."""
    dtype = result_dtype(x, codewords)
    x, codewords, weights = centred_assignment(x, codewords, scale)
    encoded = weights @ x.transpose(1, 2) - weights.sum(dim=2)[:, :, None] * codewords
    return encoded.to(dtype)
