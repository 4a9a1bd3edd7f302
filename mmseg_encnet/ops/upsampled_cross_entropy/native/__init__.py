"""The loss as one fused pass on the CPU, compiled at installation.

The pixels between two rows of small logits are one piece of work. Nothing of the size of the labels
is allocated: a column of pixels needs a few vectors of classes. For the arithmetic see `strips`.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmseg_encnet.ops.interpolation import neighbours
from mmseg_encnet.ops.native import NOT_BUILT, instruction_sets, load_kernels
from mmseg_encnet.ops.upsampled_cross_entropy.operator import make_cross_entropy

# Classes are padded to the longest vector of any instruction set, in floats.
_LANES = 16
_SUMS = _VECTORS = 5


class _Problem(ctypes.Structure):
    """Mirrors the structure of the same name in ``kernels.cpp``."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in (
            'logits', 'label', 'class_weight', 'pixel_weight', 'share', 'start', 'row_weight',
            'column', 'column_weight', 'lower', 'upper', 'sums', 'scratch')),
        *((name, ctypes.c_int64) for name in (
            'batch', 'classes', 'padded', 'height', 'width', 'label_height', 'label_width',
            'ignore_index', 'keep', 'use_sigmoid', 'threads')),
        *((name, ctypes.c_float) for name in ('own_share', 'share_sum')),
    ]  # fmt: skip


_LIBRARY = load_kernels(
    Path(__file__).parent,
    {'cross_entropy': (None, [ctypes.c_int64, ctypes.POINTER(_Problem)])},
)
INSTRUCTION_SETS = instruction_sets(_LIBRARY)


def refusal(*arguments: Any) -> str | None:
    """Return why the kernels are not available, or why they do not take these logits."""
    if not INSTRUCTION_SETS:
        return NOT_BUILT
    if not arguments:
        return None
    logits = arguments[0]
    if logits.device.type == 'cpu' and logits.dtype != torch.float64:
        return None
    return (
        f'it computes in single precision on the CPU, got logits of dtype {logits.dtype} on '
        f'{logits.device}; convert them'
    )


def _forward(
    logits: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    pixel_weight: Tensor | None,
    align_corners: bool,
    ignore_index: int,
    label_smoothing: float,
    use_sigmoid: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, classes, height, width = logits.shape
    grad = torch.empty_like(logits if keep else logits[:0], dtype=torch.float32)
    padded = -(-classes // _LANES) * _LANES
    # The next steps read the classes of a position as vectors.
    small = logits.new_zeros((batch, height, width, padded), dtype=torch.float32)
    small[..., :classes] = logits.permute(0, 2, 3, 1)
    label = label.contiguous()
    lower, upper = small.new_zeros(2, *small.shape) if keep else (small, small)
    partial = small.new_zeros((batch, max(1, height), _SUMS), dtype=torch.float64)
    if small.numel() and label.numel():
        options = align_corners, torch.int64, logits.device
        rows = neighbours(height, label.shape[1], *options)
        columns = neighbours(width, label.shape[2], *options)
        share = None
        if label_smoothing:
            share = small.new_zeros(padded)
            share[:classes] = label_smoothing / classes
            if class_weight is not None:
                share[:classes] *= class_weight
        threads = min(torch.get_num_threads(), batch * height)
        tensors = dict(
            logits=small,
            label=label,
            class_weight=None if class_weight is None else class_weight.contiguous(),
            pixel_weight=None if pixel_weight is None else pixel_weight.contiguous(),
            share=share,
            start=rows.start,
            row_weight=rows.weights,
            column=columns.first,
            column_weight=columns.weights,
            lower=lower,
            upper=upper,
            sums=partial,
            scratch=small.new_empty(threads, _VECTORS, padded),
        )
        problem = _Problem(
            **{key: None if t is None else t.data_ptr() for key, t in tensors.items()},
            batch=batch,
            classes=classes,
            padded=padded,
            height=height,
            width=width,
            label_height=label.shape[1],
            label_width=label.shape[2],
            ignore_index=ignore_index,
            keep=keep,
            use_sigmoid=use_sigmoid,
            threads=threads,
            own_share=1 - label_smoothing,
            share_sum=0.0 if share is None else share.sum().item(),
        )
        assert _LIBRARY is not None
        _LIBRARY.cross_entropy(next(iter(INSTRUCTION_SETS.values())), problem)
    total, divisor, correct, labelled, invalid = partial.sum(dim=(0, 1)).unbind()
    if invalid > 0:
        raise IndexError(
            f'got {int(invalid)} labels outside the {classes} classes, expected class indices '
            f'or ignore_index={ignore_index}; check num_classes and the labels.'
        )
    if keep:
        lower[:, 1:] += upper[:, :-1]
        lower[:, -1:] += upper[:, -1:]
        grad.copy_(lower[..., :classes].permute(0, 3, 1, 2))
    return total.float(), divisor.float(), correct.long(), labelled.long(), grad


sums = make_cross_entropy('upsampled_cross_entropy_native', _forward)
