"""The encoding as one fused pass forward and one backward on the CPU, compiled at installation.

The arithmetic is in ``kernels.cpp`` and its parts: tiles of positions stay in the cache from the
distances through the softmax to the sums, using the best vector instructions of the processor. It
is built if a C++ compiler is found when the package is installed; otherwise `dense` does the same
in more passes. For the equations and their precision see `dense`.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from mmseg_encnet.ops.encode import dense
from mmseg_encnet.ops.encode.operator import make_encode
from mmseg_encnet.ops.encode.overflow import retry_in_double
from mmseg_encnet.ops.native import NOT_BUILT, instruction_sets, load_kernels
from mmseg_encnet.ops.numerics import NEGLIGIBLE, SMALLEST_LOGIT, shared_offset

_CACHE_LINE = 64


class _Problem(ctypes.Structure):
    """Mirrors the structure of the same name in ``kernels.cpp``."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in (
            'x', 'codewords', 'scale', 'centre', 'grad', 'distances', 'grad_x', 'result',
            'grad_scale', 'scratch')),
        *((name, ctypes.c_int64) for name in (
            'stride_b', 'stride_c', 'stride_n', 'grad_stride_b', 'grad_stride_c', 'grad_stride_n',
            'batch', 'channels', 'positions', 'codes', 'channels_last', 'threads')),
        *((name, ctypes.c_float) for name in ('negligible', 'smallest_logit')),
    ]  # fmt: skip


_PROBLEM, _INTEGER = ctypes.POINTER(_Problem), ctypes.c_int64
_LIBRARY = load_kernels(
    Path(__file__).parent,
    {
        'scratch_floats': (_INTEGER, [_INTEGER, _PROBLEM, _INTEGER]),
        'encode_forward': (None, [_INTEGER, _PROBLEM]),
        'encode_backward': (None, [_INTEGER, _PROBLEM]),
    },
)
INSTRUCTION_SETS = instruction_sets(_LIBRARY)


def refusal(*tensors: Tensor) -> str | None:
    """Return why the kernels are not available, or why they do not take these tensors."""
    if not INSTRUCTION_SETS:
        return NOT_BUILT
    if all(t.dtype == torch.float32 and t.device.type == 'cpu' for t in tensors):
        return None
    found = ', '.join(f'{t.dtype} on {t.device}' for t in tensors)
    return f'it takes float32 tensors on the CPU, got {found}; convert x, codewords and scale'


def _readable(x: Tensor) -> tuple[Tensor, bool]:
    """Return the features with a unit stride over positions or channels, and whether channels."""
    if x.stride(2) == 1 or x.shape[2] == 1:
        return x, False
    if x.stride(1) == 1 or x.shape[1] == 1:
        return x, True
    return x.contiguous(), False


def _run(function: str, problem: _Problem, backward: bool) -> None:
    index = next(iter(INSTRUCTION_SETS.values()))
    assert _LIBRARY is not None
    floats = _LIBRARY.scratch_floats(index, problem, backward)
    scratch = torch.empty(floats + _CACHE_LINE // 4, dtype=torch.float32)
    problem.scratch = -(-scratch.data_ptr() // _CACHE_LINE) * _CACHE_LINE
    getattr(_LIBRARY, function)(index, problem)


def _problem(
    x: Tensor, channels_last: bool, codewords: Tensor, scale: Tensor, centre: Tensor | None
) -> _Problem:
    batch, channels, positions = x.shape
    return _Problem(
        x=x.data_ptr(),
        codewords=codewords.data_ptr(),
        scale=scale.data_ptr(),
        centre=None if centre is None else centre.data_ptr(),
        stride_b=x.stride(0),
        stride_c=x.stride(1),
        stride_n=x.stride(2),
        batch=batch,
        channels=channels,
        positions=positions,
        codes=codewords.shape[0],
        channels_last=channels_last,
        threads=torch.get_num_threads(),
        negligible=NEGLIGIBLE,
        smallest_logit=SMALLEST_LOGIT,
    )


def _centred(codewords: Tensor) -> tuple[Tensor, Tensor | None]:
    centre = shared_offset(codewords)
    return (codewords if centre is None else codewords - centre).contiguous(), centre


def _forward(x: Tensor, codewords: Tensor, scale: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    batch, channels, positions = x.shape
    codes = codewords.shape[0]
    distances = x.new_empty((batch, codes, positions) if keep else 0)
    if x.numel() == 0:
        return x.new_zeros(batch, codes, channels), distances
    x, channels_last = _readable(x)
    codewords, centre = _centred(codewords)
    scale = scale.contiguous()
    encoded = x.new_empty(batch, codes, channels)
    problem = _problem(x, channels_last, codewords, scale, centre)
    problem.distances = distances.data_ptr() if keep else None
    problem.result = encoded.data_ptr()
    _run('encode_forward', problem, backward=False)
    return encoded, distances


def _backward(
    grad: Tensor, x: Tensor, codewords: Tensor, scale: Tensor, distances: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    if x.numel() == 0:
        return torch.empty_like(x), torch.zeros_like(codewords), torch.zeros_like(scale)
    x, channels_last = _readable(x)
    batch, channels, positions = x.shape
    if channels_last:
        grad_x = x.new_empty(batch, positions, channels).transpose(1, 2)
    else:
        grad_x = x.new_empty(batch, channels, positions)
    codewords, centre = _centred(codewords)
    grad, scale, distances = grad.contiguous(), scale.contiguous(), distances.contiguous()
    grad_codewords, grad_scale = torch.empty_like(codewords), torch.empty_like(scale)
    problem = _problem(x, channels_last, codewords, scale, centre)
    problem.grad, problem.distances = grad.data_ptr(), distances.data_ptr()
    problem.grad_x, problem.result = grad_x.data_ptr(), grad_codewords.data_ptr()
    problem.grad_scale = grad_scale.data_ptr()
    problem.grad_stride_b, problem.grad_stride_c, problem.grad_stride_n = grad_x.stride()
    _run('encode_backward', problem, backward=True)
    return grad_x, grad_codewords, grad_scale


encode = make_encode(
    'encode_native', *retry_in_double(_forward, _backward, dense.forward, dense.backward)
)
