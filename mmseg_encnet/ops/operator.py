"""Turns a forward and a backward written by hand into an operator for autograd and compilers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmseg_encnet.ops import plain

Forward = Callable[..., tuple[Tensor, Tensor]]
Backward = Callable[..., tuple[Tensor, ...]]


def make_operator(
    name: str, forward: Forward, backward: Backward, fake: Forward, differentiable: Callable
) -> Callable[..., Tensor]:
    """Build an operator of some tensors from its two halves.

    Args:
        name: Unique name under torch's ``mmseg_encnet`` namespace.
        forward: ``(*tensors, keep)``, with its types annotated -> the result and, where `keep` is
            set, what backward needs beyond the tensors, else an empty tensor.
        backward: ``(grad, *tensors, kept)``, with its types annotated -> gradients of the tensors.
        fake: As `forward`, with empty tensors of the right shape and dtype.
        differentiable: ``(*tensors)`` -> the result, in plain torch operations.

    Returns:
        The operator. ``torch.compile`` keeps it as one node, exporters see plain operations
        instead, and its gradient can be differentiated again (through plain operations).
    """
    run = torch.library.custom_op(f'mmseg_encnet::{name}', forward, mutates_args=())
    run_backward = torch.library.custom_op(
        f'mmseg_encnet::{name}_backward', backward, mutates_args=()
    )
    run.register_fake(fake)

    @run_backward.register_fake
    def _(grad, *tensors):
        return tuple(torch.empty_like(tensor) for tensor in tensors[:-1])

    def setup_context(ctx, inputs, output):
        kept = output[1]
        ctx.mark_non_differentiable(kept)
        # Else autograd makes zeros of its size for the gradient that it does not have.
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:-1], kept)

    def differentiate(ctx, grad, _):
        *inputs, kept = ctx.saved_tensors
        if grad is None:
            return *(None for _ in inputs), None
        if not torch.is_grad_enabled():
            return *run_backward(grad, *inputs, kept), None
        # The gradient itself is to be differentiated.
        wanted = [tensor for tensor in inputs if tensor.requires_grad]
        grads = iter(torch.autograd.grad(differentiable(*inputs), wanted, grad, create_graph=True))
        return *(next(grads) if tensor.requires_grad else None for tensor in inputs), None

    run.register_autograd(differentiate, setup_context=setup_context)

    def operator(*tensors: Tensor) -> Tensor:
        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            return differentiable(*tensors)
        keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        return run(*tensors, keep)[0]

    return operator


def make_encode(name: str, forward: Forward, backward: Backward) -> Callable[..., Tensor]:
    """Build ``encode(x, codewords, scale)`` from its two halves.

    Args:
        name: As of :func:`make_operator`.
        forward: ``(x, codewords, scale, keep)`` -> the encoding ``(B, K, C)`` and, where `keep` is
            set, the squared distances ``(B, K, N)`` in the dtype of the computation, else an empty
            tensor.
        backward: ``(grad, x, codewords, scale, distances)`` -> gradients of ``x``, ``codewords``
            and ``scale``.
    """

    def fake(x, codewords, scale, keep):
        batch, channels, positions = x.shape
        codes = codewords.shape[0]
        return (
            x.new_empty((batch, codes, channels), dtype=plain.result_dtype(x, codewords)),
            x.new_empty(
                (batch, codes, positions) if keep else (0,),
                dtype=plain.compute_dtype(x, codewords),
            ),
        )

    return make_operator(name, forward, backward, fake, plain.encode)
