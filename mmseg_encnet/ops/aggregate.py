"""The sum that every dictionary encoder ends in: residuals under their assignment weights."""

from __future__ import annotations

import torch
from torch import Tensor

from mmseg_encnet.ops.numerics import without_autocast


def aggregate(x: Tensor, weights: Tensor, codewords: Tensor) -> Tensor:
    """Sum residuals over the positions, ``e_k = sum_i w_ik (x_i - d_k)``.

    Encnet's equation 1 with weights from anywhere; as a matrix product, so that nothing of size
    ``B * N * K * C`` is formed. Where the weights are the encoding's own soft assignment,
    :func:`mmseg_encnet.ops.encode` does both at once.

    Args:
        x: Features, ``(B, C, H, W)`` or ``(B, C, N)``, floating.
        weights: ``(B, K, N)``, floating.
        codewords: ``(K, C)``, floating.

    Returns:
        ``(B, K, C)`` in the promoted dtype of the three, at least single precision;
        differentiable in all of them.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    features = x.flatten(2) if x.dim() == 4 else x
    batch, channels, positions = features.shape
    expected = (batch, len(codewords), positions)
    if weights.shape != expected or codewords.shape[1:] != (channels,):
        raise ValueError(
            f'weights have shape {tuple(weights.shape)} and codewords {tuple(codewords.shape)}, '
            f'expected {expected} and ({len(codewords)}, {channels}) for features of shape '
            f'{tuple(x.shape)}; give one weight per codeword and position.'
        )
    dtype = torch.promote_types(torch.promote_types(x.dtype, codewords.dtype), weights.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    features, weights, codewords = (t.to(dtype) for t in (features, weights, codewords))
    with without_autocast(x.device):
        sums = weights @ features.transpose(1, 2)
        return sums - weights.sum(dim=2)[:, :, None] * codewords
