"""What the operators with Triton kernels share on the host."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# In the interpreter, where few programs are enough.
_INTERPRETED_UNITS = 4


def interpreted() -> bool:
    """Return whether Triton's interpreter runs kernels on the CPU, slowly, to test them."""
    return os.environ.get('TRITON_INTERPRET') == '1'


def refusal(tensors: Sequence[Tensor]) -> str | None:
    """Return why no kernel can run on this machine, or why none can take these tensors."""
    if importlib.util.find_spec('triton') is None:
        return 'the package triton is not installed; run `pip install triton`'
    if not tensors:
        if torch.cuda.is_available() or interpreted():
            return None
        return 'it runs on CUDA, and this machine has no CUDA GPU; use one with a GPU'
    if any(tensor.dtype == torch.float64 for tensor in tensors):
        dtypes = ', '.join(str(tensor.dtype) for tensor in tensors)
        return f'it computes in single precision, got {dtypes}; convert the inputs'
    if not interpreted() and any(not tensor.is_cuda for tensor in tensors):
        devices = ', '.join(str(tensor.device) for tensor in tensors)
        return f'it runs on CUDA, got inputs on {devices}; move them to a GPU'
    return None


@functools.cache
def units(device: torch.device) -> int:
    """Return the number of multiprocessors."""
    if device.type != 'cuda':
        return _INTERPRETED_UNITS
    return torch.cuda.get_device_properties(device).multi_processor_count


def on_its_device(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function of tensors so that Triton launches on the GPU of the first one."""

    @functools.wraps(function)
    def guarded(first: Tensor, *others: Any) -> Any:
        with torch.cuda.device(first.device) if first.is_cuda else contextlib.nullcontext():
            return function(first, *others)

    return guarded
