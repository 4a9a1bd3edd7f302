"""The encoding as in the paper: the specification that every backend is tested against.

Zhang et al., Context Encoding for Semantic Segmentation, CVPR 2018 (arXiv 1803.08904),
section 2.1, equations 1 and 2. Every residual ``x_i - d_k`` is formed, so memory and time grow with
``B * K * C * N``: for tests and small inputs only.
"""

from __future__ import annotations

from torch import Tensor


def assign(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    """Return the soft-assignment weights, equation 2; the minus sign is inside the factors.

    Args:
        x: Features, ``(B, C, N)``.
        codewords: ``(K, C)``.
        scale: Smoothing factors, ``(K,)``.

    Returns:
        ``(B, K, N)``; sums to one over the codewords.
    """
    residuals = x[:, None] - codewords[None, :, :, None]
    return (scale[None, :, None] * residuals.square().sum(dim=2)).softmax(dim=1)


def encode(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    """Return the residuals summed with their assignment weights, equation 1.

    Args:
        x: Features, ``(B, C, N)``.
        codewords: ``(K, C)``.
        scale: Smoothing factors, ``(K,)``.

    Returns:
        ``(B, K, C)``.
    """
    residuals = x[:, None] - codewords[None, :, :, None]
    return (assign(x, codewords, scale)[:, :, None] * residuals).sum(dim=3)
