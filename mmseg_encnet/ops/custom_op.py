"""Turn a forward and a backward written by hand into an operator for autograd and compilers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Forward = Callable[..., tuple[Tensor, ...]]
Backward = Callable[..., tuple[Tensor, ...] | Tensor]

# What each operator runs, by its name in torch's ``mmseg_encnet`` namespace.
IMPLEMENTATIONS: dict[str, Callable] = {}


def make_operator(
    name: str,
    forward: Forward,
    backward: Backward,
    fake: Forward,
    traceable: Callable[..., tuple[Tensor, ...]],
    differentiable: int,
) -> Callable[..., tuple[Tensor, ...]]:
    """Build an operator from its two halves.

    Args:
        name: Unique name in torch's ``mmseg_encnet`` namespace.
        forward: ``(*inputs, keep)`` with type annotations -> the results and, last, what backward
            needs in addition to the inputs if `keep` is set, otherwise an empty tensor. Only the
            first result has a gradient.
        backward: ``(grad, *inputs, kept)`` with type annotations -> gradients of the
            `differentiable` first inputs, a tensor if it is one. `grad` is that of the first
            result.
        fake: Like `forward`, but returns empty tensors of the right shape and dtype.
        traceable: ``(*inputs)`` -> the results, in plain torch operations.
        differentiable: Number of inputs with a gradient; those after them are tensors without one,
            numbers or None.

    Returns:
        The operator, ``(*inputs)`` -> the results. ``torch.compile`` keeps it as one node;
        exporters and double backward see the plain operations of `traceable` instead.
    """
    run = torch.library.custom_op(f'mmseg_encnet::{name}', forward, mutates_args=())
    run_backward = torch.library.custom_op(
        f'mmseg_encnet::{name}_backward', backward, mutates_args=()
    )
    run.register_fake(fake)
    IMPLEMENTATIONS.update({name: forward, f'{name}_backward': backward})

    @run_backward.register_fake
    def _(grad, *inputs):
        grads = tuple(torch.empty_like(tensor) for tensor in inputs[:differentiable])
        return grads if differentiable > 1 else grads[0]

    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(*output[1:])
        # Otherwise autograd allocates a zero gradient as large as what is kept.
        ctx.set_materialize_grads(False)
        ctx.constants = [None if isinstance(value, Tensor) else value for value in inputs[:-1]]
        tensors = [value if isinstance(value, Tensor) else None for value in inputs[:-1]]
        ctx.save_for_backward(*tensors, output[-1])

    def differentiate(ctx, grad, *_):
        *tensors, kept = ctx.saved_tensors
        inputs = [
            constant if tensor is None else tensor
            for tensor, constant in zip(tensors, ctx.constants)
        ]
        others = [None] * (len(inputs) - differentiable + 1)
        if grad is None:
            return *(None for _ in range(differentiable)), *others
        if not torch.is_grad_enabled():
            grads = run_backward(grad, *inputs, kept)
            return *((grads,) if isinstance(grads, Tensor) else grads), *others
        # Double backward: the gradient itself is differentiated.
        sources = inputs[:differentiable]
        wanted = [tensor for tensor in sources if tensor.requires_grad]
        grads = iter(torch.autograd.grad(traceable(*inputs)[0], wanted, grad, create_graph=True))
        return *(next(grads) if tensor.requires_grad else None for tensor in sources), *others

    run.register_autograd(differentiate, setup_context=setup_context)

    def operator(*inputs: Any) -> tuple[Tensor, ...]:
        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            return traceable(*inputs)
        sources = inputs[:differentiable]
        keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in sources)
        return run(*inputs, keep)[:-1]

    return operator
