"""The labels of resized logits as one fused pass on the CPU, compiled at installation.

A band of rows is one piece of work. It needs two rows of scores for each resizing, and one more of
the second one's source.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmseg_encnet.ops.interpolation import AxisWeights, axis_weights
from mmseg_encnet.ops.native import instruction_sets, load_kernels

if TYPE_CHECKING:
    from mmseg_encnet.ops.upsampled_labels.operator import Resizing

MOST_STAGES = 2
# Each thread gets a few bands, for the case that one of them is interrupted.
_BANDS = 3


class _Stage(ctypes.Structure):
    """Mirrors the structure of the same name in ``kernels.cpp``."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in (
            'row', 'row_weight', 'column', 'column_weight')),
        *((name, ctypes.c_int64) for name in (
            'rows', 'columns', 'source_rows', 'source_columns')),
    ]  # fmt: skip


class _Problem(ctypes.Structure):
    """Mirrors the structure of the same name in ``kernels.cpp``."""

    _fields_ = [
        ('logits', ctypes.c_void_p),
        ('classes', ctypes.c_void_p),
        ('stages', _Stage * MOST_STAGES),
        ('labels', ctypes.c_void_p),
        ('scratch', ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in (
            'floats', 'count', 'stage_count', 'band', 'threads')),
    ]  # fmt: skip


_LIBRARY = load_kernels(
    Path(__file__).parent,
    {'upsampled_labels': (None, [ctypes.c_int64, ctypes.POINTER(_Problem)])},
)
INSTRUCTION_SETS = instruction_sets(_LIBRARY)


def labels(
    logits: Tensor, resizings: Sequence[Resizing], align_corners: bool, absent: Tensor | None
) -> Tensor | None:
    """Return the labels; see :func:`~mmseg_encnet.ops.upsampled_labels.upsampled_labels`."""
    logits = logits.detach().contiguous()
    classes = torch.arange(len(logits))
    if absent is not None:
        classes = classes[~absent]
    height, width = logits.shape[1:]
    stages, tables, floats = (_Stage * MOST_STAGES)(), [], 0
    for index, (stage, resizing) in enumerate(zip(stages, resizings)):
        stage.source_rows, stage.source_columns = height, width
        rows = axis_weights(height, resizing.size[0], align_corners)
        columns = axis_weights(width, resizing.size[1], align_corners)
        if rows is None or columns is None:
            return None
        rows = _part(rows, resizing.rows, resizing.flip_rows)
        columns = _part(columns, resizing.columns, resizing.flip_columns)
        # The kernel reads them by address.
        tables += [rows, columns]
        stage.row, stage.row_weight = (table.data_ptr() for table in rows)
        stage.column, stage.column_weight = (table.data_ptr() for table in columns)
        height, width = stage.rows, stage.columns = len(rows.first), len(columns.first)
        floats += len(classes) * (2 * width + stage.source_columns * (index > 0))
    result = torch.empty(height, width, dtype=torch.int64)
    threads = torch.get_num_threads()
    scratch = logits.new_empty(threads, floats)
    problem = _Problem(
        logits=logits.data_ptr(),
        classes=classes.data_ptr(),
        stages=stages,
        labels=result.data_ptr(),
        scratch=scratch.data_ptr(),
        floats=floats,
        count=len(classes),
        stage_count=len(resizings),
        band=max(1, -(-height // (_BANDS * threads))),
        threads=threads,
    )
    assert _LIBRARY is not None
    _LIBRARY.upsampled_labels(next(iter(INSTRUCTION_SETS.values())), problem)
    return result


def _part(table: AxisWeights, kept: slice, flip: bool) -> AxisWeights:
    first, weights = table.first[kept], table.weights[kept]
    if flip:
        first, weights = first.flip(0), weights.flip(0)
    return AxisWeights(first.contiguous(), weights.contiguous())
