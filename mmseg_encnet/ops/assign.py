"""Soft assignment of positions to codewords."""

from __future__ import annotations

from torch import Tensor

from mmseg_encnet.ops.distances import squared_distances
from mmseg_encnet.ops.numerics import SMALLEST_LOGIT, without_autocast
from mmseg_encnet.ops.shapes import check_dictionary


def assign(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    """Return the soft-assignment weights of every position (equation 2 of the EncNet paper).

    ``a_ik = softmax_k(s_k |x_i - d_k|^2)``. :func:`encode` does not form these weights; use this
    function for figures and statistics.

    Args:
        x: Features, ``(B, C, H, W)`` or ``(B, C, N)``, any floating dtype.
        codewords: ``(K, C)``, floating.
        scale: Smoothing factors, ``(K,)``, floating.

    Returns:
        ``(B, K, N)`` in at least single precision; sums to one over the codewords. Differentiable.

    Raises:
        ValueError: A shape or dtype does not match.
    """
    features = check_dictionary(x, codewords, scale)
    with without_autocast(x.device):
        distances = squared_distances(features, codewords)
        return (scale.to(distances.dtype)[:, None] * distances).softmax(dim=1)


def soft_assignment(logits: Tensor) -> Tensor:
    """Return the softmax over the codewords of logits ``(B, K, N)``, without denormal weights.

    Weights stay above ``1e-20 / K``. Smaller ones change no digit of a sum, but denormal weights
    and gradients make CPU matrix products ten times slower.
    """
    largest = logits.detach().amax(dim=1, keepdim=True)
    return (logits - largest).clamp(min=SMALLEST_LOGIT).softmax(dim=1)
