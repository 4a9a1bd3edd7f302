"""Recompute finite inputs whose squares overflow single precision in double precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmseg_encnet.ops.custom_op import Backward, Forward


def retry_in_double(
    forward: Forward, backward: Backward, double_forward: Forward, double_backward: Backward
) -> tuple[Forward, Backward]:
    """Wrap the two halves of a CPU backend; see :func:`make_encode`.

    An overflow at one position reaches the sums over the positions, so checking the small results
    is enough.
    """

    def checked_forward(
        x: Tensor, codewords: Tensor, scale: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor]:
        encoded, distances = forward(x, codewords, scale, keep)
        if _overflowed([encoded], [x, codewords, scale]):
            wide = (tensor.double() for tensor in (x, codewords, scale))
            encoded = double_forward(*wide, False)[0].to(encoded.dtype)
        return encoded, distances

    def checked_backward(
        grad: Tensor, x: Tensor, codewords: Tensor, scale: Tensor, distances: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        inputs = [x, codewords, scale]
        grads = tuple(backward(grad, *inputs, distances))
        if _overflowed(grads[1:], [grad, *inputs]):
            wide = [tensor.double() for tensor in inputs]
            kept = double_forward(*wide, True)[1]
            exact = double_backward(grad.double(), *wide, kept)
            grads = tuple(value.to(tensor.dtype) for value, tensor in zip(exact, inputs))
        grad_x, grad_codewords, grad_scale = grads
        return grad_x, grad_codewords, grad_scale

    return checked_forward, checked_backward


def _overflowed(results: Sequence[Tensor], inputs: Sequence[Tensor]) -> bool:
    # On other devices the check would synchronise with the host.
    if results[0].device.type != 'cpu' or results[0].dtype == torch.float64:
        return False
    if all(result.sum().isfinite() for result in results):
        return False
    return all(tensor.isfinite().all() for tensor in inputs)
