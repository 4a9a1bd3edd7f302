"""Turns a forward and a backward written by hand into an operator for autograd and compilers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmseg_encnet.ops import plain

Forward = Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor]]
Backward = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
Encode = Callable[[Tensor, Tensor, Tensor], Tensor]


def make_operator(name: str, forward: Forward, backward: Backward) -> Encode:
    """Build ``encode(x, codewords, scale)`` from its two halves.

    Args:
        name: Unique name under torch's ``mmseg_encnet`` namespace.
        forward: ``(x, codewords, scale, keep)`` -> the encoding ``(B, K, C)`` and, where `keep` is
            set, the squared distances ``(B, K, N)`` in the dtype of the computation, else an empty
            tensor.
        backward: ``(grad, x, codewords, scale, distances)`` -> gradients of ``x``, ``codewords``
            and ``scale``.

    Returns:
        The operator. ``torch.compile`` keeps it as one node, exporters see plain operations
        instead, and its gradient can be differentiated again (through plain operations).
    """
    run = torch.library.custom_op(f'mmseg_encnet::{name}', forward, mutates_args=())
    run_backward = torch.library.custom_op(
        f'mmseg_encnet::{name}_backward', backward, mutates_args=()
    )

    @run.register_fake
    def _(x, codewords, scale, keep):
        batch, channels, positions = x.shape
        codes = codewords.shape[0]
        return (
            x.new_empty((batch, codes, channels), dtype=plain.result_dtype(x, codewords)),
            x.new_empty(
                (batch, codes, positions) if keep else (0,),
                dtype=plain.compute_dtype(x, codewords),
            ),
        )

    @run_backward.register_fake
    def _(grad, x, codewords, scale, distances):
        return torch.empty_like(x), torch.empty_like(codewords), torch.empty_like(scale)

    def setup_context(ctx, inputs, output):
        x, codewords, scale, _ = inputs
        distances = output[1]
        ctx.mark_non_differentiable(distances)
        # Else autograd makes zeros of the distances' size for the gradient that they do not have.
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, codewords, scale, distances)

    def differentiate(ctx, grad, _):
        if grad is None:
            return None, None, None, None
        inputs, distances = ctx.saved_tensors[:3], ctx.saved_tensors[3]
        if not torch.is_grad_enabled():
            return *run_backward(grad, *inputs, distances), None
        # The gradient itself is to be differentiated.
        wanted = [tensor for tensor in inputs if tensor.requires_grad]
        grads = iter(torch.autograd.grad(plain.encode(*inputs), wanted, grad, create_graph=True))
        return *(next(grads) if tensor.requires_grad else None for tensor in inputs), None

    run.register_autograd(differentiate, setup_context=setup_context)

    def encode(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            return plain.encode(x, codewords, scale)
        keep = torch.is_grad_enabled() and any(
            tensor.requires_grad for tensor in (x, codewords, scale)
        )
        return run(x, codewords, scale, keep)[0]

    return encode
