"""The loss on CUDA GPUs: two passes over the pixels, which compute the resized logits on the fly.

- ``normalise`` computes loss, accuracy and the parameters of the softmax of a tile of pixels: it
  goes through the classes once, with an online softmax (Milakov and Gimelshein, "Online normalizer
  calculation for softmax", 2018). It keeps 8 bytes a pixel.
- ``differentiate`` computes the gradient of a block of classes in a tile of small positions, as
  sums over the pixels that they touch. Every program writes positions of its own.
- ``finish``, a single program, adds up the losses.

Nothing has the size of the resized logits, and there are no atomics, so results are bitwise
reproducible. Everything is computed in single precision.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmseg_encnet.ops import triton as ops_triton
from mmseg_encnet.ops.interpolation import neighbours
from mmseg_encnet.ops.triton import on_its_device, units
from mmseg_encnet.ops.upsampled_cross_entropy.operator import make_cross_entropy
from mmseg_encnet.ops.upsampled_cross_entropy.triton.tiles import (
    TAPS,
    VARIANTS,
    Variant,
    column_tile,
)

# Programs whose sums ``finish`` adds up at a time.
_PROGRAMS_BLOCK = 1024
# Programs of ``differentiate`` for each multiprocessor, and the fewest small rows of one: it also
# computes the cell above them.
_PER_UNIT, _FEWEST_ROWS = 4, 4


def refusal(*arguments: Any) -> str | None:
    """Return why the kernels cannot run on this machine, or why they do not take these logits."""
    return ops_triton.refusal([x for x in arguments[:1] if isinstance(x, Tensor)])


def load_kernels() -> Any:
    """Return the module of the kernels."""
    # Importing triton takes as long as the rest of the package.
    return importlib.import_module('mmseg_encnet.ops.upsampled_cross_entropy.triton.kernels')


@on_its_device
def forward(
    logits: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    pixel_weight: Tensor | None,
    align_corners: bool,
    ignore_index: int,
    label_smoothing: float,
    use_sigmoid: bool,
    keep: bool,
    variant: Variant,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, classes, height, width = logits.shape
    label_height, label_width = label.shape[1:]
    device = logits.device
    grad = torch.empty_like(logits if keep else logits[:0], dtype=torch.float32)
    # Not views of one tensor: results of an operator must not share memory.
    total, divisor = (logits.new_empty((), dtype=torch.float32) for _ in range(2))
    correct, labelled = (label.new_empty(()) for _ in range(2))
    if logits.numel() == 0 or label.numel() == 0:
        sums = total.zero_(), divisor.zero_(), correct.zero_(), labelled.zero_()
        return *sums, grad.zero_()
    rows = neighbours(height, label_height, align_corners, torch.int32, device)
    columns = neighbours(width, label_width, align_corners, torch.int32, device)
    label = label.contiguous()
    # A pointer to what is absent is not read.
    weights = [
        logits if weight is None else weight.contiguous() for weight in (class_weight, pixel_weight)
    ]
    kept = label.shape if keep and not use_sigmoid else (0,)
    largest, spread = (logits.new_empty(kept, dtype=torch.float32) for _ in range(2))
    options = dict(
        SIGMOID=use_sigmoid,
        WEIGHTED=class_weight is not None,
        PIXELS=pixel_weight is not None,
        SMOOTH=label_smoothing > 0,
    )
    sizes = classes, height, width, label_height, label_width, ignore_index, label_smoothing
    grid = height, -(-label_width // variant.columns), batch
    programs = grid[0] * grid[1] * grid[2]
    partial = logits.new_empty((4, programs), dtype=torch.float32)
    kernels = load_kernels()
    kernels.normalise[grid](
        logits, label, *weights, rows.start, rows.weights, columns.first, columns.weights,
        largest, spread, partial, *logits.stride(), *sizes, **options,
        KEEP=keep, BLOCK_R=variant.rows, BLOCK_X=variant.columns, UNROLL=variant.unroll,
        num_warps=variant.normalise_warps,
    )  # fmt: skip
    kernels.finish[(1,)](
        partial, total, divisor, correct, labelled, programs, BLOCK=_PROGRAMS_BLOCK
    )
    if keep:
        tile = column_tile(width, label_width, align_corners, variant.longest)
        tiles = -(-width // tile.columns)
        across = tiles * -(-classes // variant.classes)
        groups = -(-_PER_UNIT * units(device) // (across * batch))
        own_rows = max(_FEWEST_ROWS, -(-height // groups))
        kernels.differentiate[(-(-height // own_rows), across, batch)](
            logits, label, *weights, rows.start, rows.weights,
            columns.start, columns.first, columns.weights,
            largest, spread, grad, *logits.stride(), *grad.stride(), *sizes,
            own_rows, tile.columns, tiles, **options,
            BLOCK_C=variant.classes, BLOCK_X=tile.block, BLOCK_J=tile.padded, TAPS=TAPS,
            num_warps=variant.warps, maxnreg=variant.registers,
        )  # fmt: skip
    return total, divisor, correct, labelled, grad


def _operator(number: int) -> Callable[..., tuple[Tensor, ...]]:
    """Build the operator with the variant of this number."""

    def run(
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
        return forward(
            logits, label, class_weight, pixel_weight, align_corners, ignore_index,
            label_smoothing, use_sigmoid, keep, VARIANTS[number],
        )  # fmt: skip

    name = 'upsampled_cross_entropy_triton'
    return make_cross_entropy(f'{name}_{number}' if number else name, run)


_OPERATORS = tuple(_operator(number) for number in range(len(VARIANTS)))
sums = _OPERATORS[0]


def operators(*arguments: Any) -> dict[str, Callable[..., tuple[Tensor, ...]]]:
    """Return the operators whose tile sizes may be the fastest, by name."""
    return {f'tiles {number}': operator for number, operator in enumerate(_OPERATORS)}
