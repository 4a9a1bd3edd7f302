"""Turn a forward and a backward written by hand into an operator for autograd and compilers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Forward = Callable[..., tuple[Tensor, Tensor]]
Backward = Callable[..., tuple[Tensor, ...]]

# What each operator runs, by its name in torch's ``mmseg_encnet`` namespace.
IMPLEMENTATIONS: dict[str, Callable] = {}


def make_operator(
    name: str, forward: Forward, backward: Backward, fake: Forward, traceable: Callable[..., Tensor]
) -> Callable[..., Tensor]:
    """Build an operator of several tensors from its two halves.

    Args:
        name: Unique name in torch's ``mmseg_encnet`` namespace.
        forward: ``(*tensors, keep)`` with type annotations -> the result and, if `keep` is set,
            what backward needs in addition to the tensors, otherwise an empty tensor.
        backward: ``(grad, *tensors, kept)`` with type annotations -> gradients of the tensors.
        fake: Like `forward`, but returns empty tensors of the right shape and dtype.
        traceable: ``(*tensors)`` -> the result, in plain torch operations.

    Returns:
        The operator. ``torch.compile`` keeps it as one node; exporters and double backward see the
        plain operations of `traceable` instead.
    """
    run = torch.library.custom_op(f'mmseg_encnet::{name}', forward, mutates_args=())
    run_backward = torch.library.custom_op(
        f'mmseg_encnet::{name}_backward', backward, mutates_args=()
    )
    run.register_fake(fake)
    IMPLEMENTATIONS.update({name: forward, f'{name}_backward': backward})

    @run_backward.register_fake
    def _(grad, *tensors):
        return tuple(torch.empty_like(tensor) for tensor in tensors[:-1])

    def setup_context(ctx, inputs, output):
        kept = output[1]
        ctx.mark_non_differentiable(kept)
        # Otherwise autograd allocates a zero gradient as large as `kept`.
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:-1], kept)

    def differentiate(ctx, grad, _):
        *inputs, kept = ctx.saved_tensors
        if grad is None:
            return *(None for _ in inputs), None
        if not torch.is_grad_enabled():
            return *run_backward(grad, *inputs, kept), None
        # Double backward: the gradient itself is differentiated.
        wanted = [tensor for tensor in inputs if tensor.requires_grad]
        grads = iter(torch.autograd.grad(traceable(*inputs), wanted, grad, create_graph=True))
        return *(next(grads) if tensor.requires_grad else None for tensor in inputs), None

    run.register_autograd(differentiate, setup_context=setup_context)

    def operator(*tensors: Tensor) -> Tensor:
        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            return traceable(*tensors)
        keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        return run(*tensors, keep)[0]

    return operator
