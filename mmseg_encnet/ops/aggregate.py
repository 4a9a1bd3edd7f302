"""The last step of every dictionary encoder: the weighted sum of the residuals."""

from __future__ import annotations

import torch
from torch import Tensor

from mmseg_encnet.ops.numerics import without_autocast


def aggregate(x: Tensor, weights: Tensor, codewords: Tensor) -> Tensor:
    """Sum residuals over the positions, ``e_k = sum_i w_ik (x_i - d_k)``.

    Equation 1 of the EncNet paper for any weights, as a matrix product: no tensor of size
    ``B * N * K * C`` is formed. For the encoding's own soft assignment,
    :func:`mmseg_encnet.ops.encode` computes weights and sum at once.

    Args:
        x: Features, ``(B, C, H, W)`` or ``(B, C, N)``, floating.
        weights: ``(B, K, N)``, floating.
        codewords: ``(K, C)``, floating.

    Returns:
        ``(B, K, C)`` in the promoted dtype of the three, at least single precision;
        differentiable in all of them.

    Raises:
        ValueError: The shapes do not match.
    """
    features = x.flatten(2) if x.dim() == 4 else x
    batch, channels, positions = features.shape
    expected = (batch, len(codewords), positions)
    if weights.shape != expected or codewords.shape[1:] != (channels,):
        raise ValueError(
            f'got weights of shape {tuple(weights.shape)} and codewords of shape '
            f'{tuple(codewords.shape)}, expected {expected} and ({len(codewords)}, {channels}) for '
            f'features of shape {tuple(x.shape)}; pass one weight per codeword and position.'
        )
    dtype = torch.promote_types(torch.promote_types(x.dtype, codewords.dtype), weights.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    features, weights, codewords = (t.to(dtype) for t in (features, weights, codewords))
    with without_autocast(x.device):
        sums = weights @ features.transpose(1, 2)
        return sums - weights.sum(dim=2)[:, :, None] * codewords
