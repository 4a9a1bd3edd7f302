"""Squared distances of the positions to the codewords, without a copy of the features.

One matrix product forward and two backward, as in the first half of `dense`, for encoders that need
the assignment weights themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmseg_encnet.ops import plain
from mmseg_encnet.ops.dense import exact_inner, shared_offset, squared_norms
from mmseg_encnet.ops.operator import make_operator

# Gradients of saturated assignments are denormal numbers, over which CPU matrix products run ten
# times slower. So small ones change no digit of the sums.
_NEGLIGIBLE = 1e-30


def _about_centre(x: Tensor, codewords: Tensor) -> tuple[Tensor, Tensor]:
    """Features and codewords in the dtype of the computation, moved where they share an offset."""
    dtype = plain.compute_dtype(x, codewords)
    x, codewords = x.to(dtype), codewords.to(dtype)
    centre = shared_offset(codewords)
    return (x, codewords) if centre is None else (x - centre[:, None], codewords - centre)


def _forward(x: Tensor, codewords: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    x, codewords = _about_centre(x, codewords)
    products = (-2 * codewords).expand(len(x), *codewords.shape)
    distances = squared_norms(x) + exact_inner(codewords, codewords)[:, None]
    return distances.baddbmm_(products, x), x.new_empty(0)


def _backward(
    grad: Tensor, x: Tensor, codewords: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor]:
    """With ``q`` the distances' gradient, ``2 sum_k q_ik (x_i - d_k)`` and its like."""
    dtypes = x.dtype, codewords.dtype
    # In the memory layout of the features, which taking off a centre may change.
    grad_x = torch.empty_like(x, dtype=plain.compute_dtype(x, codewords))
    x, codewords = _about_centre(x, codewords)
    grad = grad.masked_fill(grad.abs() < _NEGLIGIBLE, 0.0)
    products = (-2 * codewords).t().expand(len(x), *codewords.shape[::-1])
    torch.mul(x, 2 * grad.sum(dim=1, keepdim=True), out=grad_x).baddbmm_(products, grad)
    sums = torch.bmm(grad, x.transpose(1, 2)).sum(dim=0)
    grad_codewords = 2 * (grad.sum(dim=(0, 2))[:, None] * codewords - sums)
    return grad_x.to(dtypes[0]), grad_codewords.to(dtypes[1])


def _fake(x, codewords, keep):
    shape = x.shape[0], codewords.shape[0], x.shape[2]
    dtype = plain.compute_dtype(x, codewords)
    return x.new_empty(shape, dtype=dtype), x.new_empty(0, dtype=dtype)


squared_distances = make_operator(
    'squared_distances', _forward, _backward, _fake, plain.squared_distances
)
