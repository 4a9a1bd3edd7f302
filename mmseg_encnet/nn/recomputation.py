"""Recompute activations in the backward pass instead of keeping them.

Autograd keeps both sides of a batch norm with ReLU: the norm its input, the ReLU (and the layer
after it) its output. The output follows from the input by one multiplication and one addition per
element, so one of the two is enough. Unlike :func:`torch.utils.checkpoint.checkpoint`, this runs no
module twice: running statistics are updated once, hooks of modules are called once, the batch
statistics are those of the forward pass, and expensive layers need not be repeated.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules import module as module_hooks
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm


class _Recipe:
    """How to compute a tensor again.

    The value is kept from its first use until autograd has run, and so freed, its last user.
    """

    def __init__(
        self, run: Callable[..., Tensor], inputs: list[Tensor | _Recipe | None], device: str
    ) -> None:
        self.run, self.inputs = run, inputs
        self.versions = [t._version if isinstance(t, Tensor) else 0 for t in inputs]
        self.autocast: contextlib.AbstractContextManager = contextlib.nullcontext()
        if torch.amp.is_autocast_available(device):
            self.autocast = torch.autocast(
                device,
                dtype=torch.get_autocast_dtype(device),
                enabled=torch.is_autocast_enabled(device),
            )
        self.value: Tensor | None = None

    def compute(self) -> Tensor:
        if self.value is None:
            for tensor, version in zip(self.inputs, self.versions):
                if isinstance(tensor, Tensor) and tensor._version != version:
                    raise RuntimeError(
                        'a tensor that the backward pass recomputes an activation from was '
                        'modified in place; call backward() before the optimiser, or build the '
                        "backbone with recompute='none'."
                    )
            values = [t.compute() if isinstance(t, _Recipe) else t for t in self.inputs]
            with torch.no_grad(), self.autocast:
                self.value = self.run(*values)
        return self.value


class Recomputation:
    """Context in which autograd recomputes activations that it would keep.

    Args:
        products: Largest number of products per output value of a convolution that is recomputed,
            besides norms. A 1x1 convolution of C channels has C, a 3x3 convolution 9 C.

    Gradients are those of the plain layers: to the bit where PyTorch's batch norm rounds a product
    and sum once (processors with FMA) or on a GPU, otherwise to rounding. Layers that cannot be
    recomputed (other norms and activations, and modules with hooks, which may change or keep
    their results) run as they are and keep what they need, and so does everything under
    ``torch.compile``, export, tracing and ``torch.func``.
    """

    def __init__(self, products: int = 0) -> None:
        self.products = products
        self._recipes: dict[int, tuple[weakref.ref[Tensor], _Recipe]] = {}
        self._hooks: saved_tensors_hooks | None = None

    def __enter__(self) -> Recomputation:
        if _autograd_keeps_tensors():
            self._hooks = saved_tensors_hooks(self._pack, self._unpack)
            self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._hooks is not None:
            self._hooks.__exit__(*error)
            self._hooks = None
        self._recipes.clear()

    def convolve(self, x: Tensor, conv: nn.Module) -> Tensor:
        """Return ``conv(x)``."""
        out = conv(x)
        if (
            self._hooks is not None
            and isinstance(conv, nn.Conv2d)
            and type(conv).forward is nn.Conv2d.forward
            and conv.weight[0].numel() <= self.products
            and not _has_hooks(conv)
        ):
            self._recompute(out, conv._conv_forward, x, conv.weight, conv.bias)
        return out

    def activate(self, x: Tensor, norm: nn.Module, act: nn.Module) -> Tensor:
        """Return ``act(norm(x))``."""
        out = norm(x)
        if (
            self._hooks is not None
            and type(act) is nn.ReLU
            and act.inplace
            and not _has_hooks(norm)
            and not _has_hooks(act)
            and out.dtype == x.dtype
            and out.grad_fn is not None
        ):
            normalise = _normalisation(norm, x, out.grad_fn)
            if normalise is not None:
                run, *inputs = normalise
                self._recompute(out, lambda *values: run(*values).relu_(), x, *inputs)
        return act(out)

    def _recompute(
        self, tensor: Tensor, run: Callable[..., Tensor], *inputs: Tensor | None
    ) -> None:
        """Recompute a tensor where it, including its in-place changes from here, is needed."""
        sources = [t if t is None else self._recipe(t) or t.detach() for t in inputs]
        self._recipes[_address(tensor)] = (
            weakref.ref(tensor),
            _Recipe(run, sources, tensor.device.type),
        )

    def _recipe(self, tensor: Tensor) -> _Recipe | None:
        reference, recipe = self._recipes.get(_address(tensor), (None, None))
        known = None if reference is None else reference()
        # The memory of a tensor that no longer exists may hold another one.
        if known is None or (known.shape, known.stride()) != (tensor.shape, tensor.stride()):
            return None
        return recipe

    def _pack(self, tensor: Tensor) -> Tensor | _Recipe:
        return self._recipe(tensor) or tensor

    @staticmethod
    def _unpack(packed: Tensor | _Recipe) -> Tensor:
        return packed.compute() if isinstance(packed, _Recipe) else packed


def _address(tensor: Tensor) -> int:
    # Tensors on the meta device have no address of data.
    return tensor.untyped_storage()._cdata


def _autograd_keeps_tensors() -> bool:
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and torch.is_grad_enabled()
        and torch._C._autograd._saved_tensors_hooks_is_enabled()  # type: ignore[attr-defined]
    )


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or module_hooks._global_forward_hooks
        or module_hooks._global_forward_pre_hooks
        or module_hooks._global_backward_hooks
        or module_hooks._global_backward_pre_hooks
    )


def _normalisation(norm: nn.Module, x: Tensor, node: Any) -> tuple | None:
    """Return a function that repeats a batch norm, and its tensors besides the input.

    None if it is not a batch norm of PyTorch.
    """
    if not isinstance(norm, _BatchNorm) or type(norm).forward not in (
        _BatchNorm.forward,
        SyncBatchNorm.forward,
    ):
        return None
    weight, bias, eps = norm.weight, norm.bias, norm.eps
    if not norm.training and norm.running_mean is not None:
        return (
            lambda x, weight, bias, mean, var: F.batch_norm(x, mean, var, weight, bias, eps=eps),
            weight, bias, norm.running_mean, norm.running_var,
        )  # fmt: skip
    if node.name() == 'SyncBatchNormBackward':
        _, _, mean, invstd, *_ = node.saved_tensors
        return (
            lambda x, weight, bias, mean, invstd: torch.batch_norm_elemt(
                x, weight, bias, mean, invstd, eps
            ),
            weight, bias, mean, invstd,
        )  # fmt: skip
    if node.name() == 'NativeBatchNormBackward0' and x.dtype in (torch.float32, torch.float64):
        # One pass instead of the two or three of statistics and normalisation.
        return _scale_and_shift, weight, bias, node._saved_result1, node._saved_result2
    statistics = norm.running_mean

    def normalise(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        # Running statistics in single precision decide how PyTorch normalises half precision.
        mean = None if statistics is None else torch.zeros_like(statistics)
        var = None if statistics is None else torch.ones_like(statistics)
        return F.batch_norm(x, mean, var, weight, bias, training=True, momentum=0.0, eps=eps)

    return normalise, weight, bias


def _scale_and_shift(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, invstd: Tensor
) -> Tensor:
    """Normalise with given statistics, in the order of PyTorch's kernel for the CPU."""
    scale = invstd if weight is None else invstd * weight
    shift = torch.addcmul(torch.zeros_like(mean) if bias is None else bias, mean, scale, value=-1)
    shape = (-1, *(1 for _ in x.shape[2:]))
    return torch.addcmul(shift.view(shape), x, scale.view(shape))
