"""Soft assignment to the components of a Gaussian mixture with diagonal covariances."""

from __future__ import annotations

import torch
from torch import Tensor

from mmseg_encnet.ops.assign import soft_assignment
from mmseg_encnet.ops.numerics import compute_dtype, without_autocast


def mixture_assign(x: Tensor, means: Tensor, deviations: Tensor, log_priors: Tensor) -> Tensor:
    """Return the posterior probability of every component at every position.

    ``g_ik = softmax_k(log p_k - sum_c log s_kc - sum_c (x_ic - m_kc)^2 / (2 s_kc^2))``, as matrix
    products over the features and their squares. Features and means are centred on the mean of the
    means first, so that a common offset costs no digits.

    Args:
        x: Features, ``(B, C, H, W)`` or ``(B, C, N)``, floating.
        means: ``(K, C)``.
        deviations: Standard deviations, ``(K, C)``, positive.
        log_priors: ``(K,)``; adding a constant to all of them changes nothing.

    Returns:
        ``(B, K, N)`` in at least single precision; sums to one over the components.
        Differentiable in all four.
    """
    features = x.flatten(2) if x.dim() == 4 else x
    dtype = compute_dtype(x, means)
    with without_autocast(x.device):
        centre = means.to(dtype).mean(dim=0)
        features = features.to(dtype) - centre[:, None]
        means, deviations = means.to(dtype) - centre, deviations.to(dtype)
        precisions = deviations**-2
        constants = log_priors - deviations.log().sum(1) - (precisions * means**2).sum(1) / 2
        batch = len(features)
        logits = torch.baddbmm(
            constants[:, None], (-precisions / 2).expand(batch, -1, -1), features.square()
        )
        return soft_assignment(logits.baddbmm((precisions * means).expand(batch, -1, -1), features))
