"""Squared distances of positions to codewords, without a copy of the features.

One matrix product forward and two backward, for encoders that need the assignment weights
themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmseg_encnet.ops.custom_op import make_operator
from mmseg_encnet.ops.numerics import (
    centred,
    compute_dtype,
    exact_inner,
    squared_norms,
)

# Gradients of saturated assignments are denormal numbers, over which CPU matrix products run ten
# times slower. Below this threshold they change no digit of the sums.
_NEGLIGIBLE_GRADIENT = 1e-30


def traceable_squared_distances(x: Tensor, codewords: Tensor) -> Tensor:
    """Return squared distances ``(B, K, N)`` of features ``(B, C, N)`` to codewords ``(K, C)``.

    This uses plain torch operations, for exporters and double backward. The codewords are always
    centred, so the graph does not depend on their values.
    """
    dtype = compute_dtype(x, codewords)
    x, codewords = x.to(dtype), codewords.to(dtype)
    centre = codewords.mean(dim=0)
    return expanded_squares(x - centre[:, None], codewords - centre)


def expanded_squares(x: Tensor, codewords: Tensor) -> Tensor:
    """Return ``|x_i|^2 - 2 x_i.d_k + |d_k|^2``, ``(B, K, N)``."""
    return (
        x.square().sum(dim=1, keepdim=True)
        - 2 * (codewords @ x)
        + codewords.square().sum(dim=1)[:, None]
    )


def _forward(x: Tensor, codewords: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    x, codewords = centred(x, codewords)
    products = (-2 * codewords).expand(len(x), *codewords.shape)
    distances = squared_norms(x) + exact_inner(codewords, codewords)[:, None]
    return distances.baddbmm_(products, x), x.new_empty(0)


def _backward(grad: Tensor, x: Tensor, codewords: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients: ``dx_i = 2 sum_k q_ik (x_i - d_k)`` for the incoming gradient ``q``."""
    dtypes = x.dtype, codewords.dtype
    # In the memory layout of the features, which centring may change.
    grad_x = torch.empty_like(x, dtype=compute_dtype(x, codewords))
    x, codewords = centred(x, codewords)
    grad = grad.masked_fill(grad.abs() < _NEGLIGIBLE_GRADIENT, 0.0)
    products = (-2 * codewords).t().expand(len(x), *codewords.shape[::-1])
    torch.mul(x, 2 * grad.sum(dim=1, keepdim=True), out=grad_x).baddbmm_(products, grad)
    sums = torch.bmm(grad, x.transpose(1, 2)).sum(dim=0)
    grad_codewords = 2 * (grad.sum(dim=(0, 2))[:, None] * codewords - sums)
    return grad_x.to(dtypes[0]), grad_codewords.to(dtypes[1])


def _fake(x, codewords, keep):
    shape = x.shape[0], codewords.shape[0], x.shape[2]
    dtype = compute_dtype(x, codewords)
    return x.new_empty(shape, dtype=dtype), x.new_empty(0, dtype=dtype)


_squared_distances = make_operator(
    'squared_distances',
    _forward,
    _backward,
    _fake,
    lambda *tensors: (traceable_squared_distances(*tensors),),
    2,
)


def squared_distances(x: Tensor, codewords: Tensor) -> Tensor:
    """Return the squared distances ``(B, K, N)`` of features ``(B, C, N)`` to all codewords."""
    return _squared_distances(x, codewords)[0]
