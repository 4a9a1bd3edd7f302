"""The kernels of the loss: their launches, what they compile to, and the time that they need."""

from __future__ import annotations

from dataclasses import dataclass
from unittest import mock

import torch
from torch import Tensor

from mmseg_encnet.ops.interpolation import neighbours
from mmseg_encnet.ops.upsampled_cross_entropy import triton as backend
from mmseg_encnet.ops.upsampled_cross_entropy.triton.tiles import VARIANTS
from mmseg_encnet.workbench.kernels.compiled import (
    DTYPES,
    Compiled,
    Launch,
    compile_launch,
    recorded,
)
from mmseg_encnet.workbench.kernels.cost import LAUNCH_SECONDS
from mmseg_encnet.workbench.kernels.hardware import Card

STREAMING = ('normalise', 'differentiate')
# By name, whether there are weights and label smoothing, and whether the sigmoid.
OPTIONS = {
    'softmax': (False, False),
    'softmax, weights, smoothing': (True, False),
    'sigmoid, weights': (True, True),
}
# PyTorch writes the resized logits; reads them and writes their log-softmax; writes its gradient;
# reads both and writes the gradient of the resized logits; and reads that. In float32.
_PYTORCH_BYTES = 8 * 4


@dataclass(frozen=True)
class Shape:
    """Sizes of a loss: square logits, and labels `stride` times as large."""

    batch: int
    classes: int
    size: int
    stride: int = 8

    def __str__(self) -> str:
        return f'{self.batch} x {self.classes} x {self.size} x {self.size} to {self.labels}'

    @property
    def labels(self) -> int:
        """Height and width of the labels."""
        return self.size * self.stride


def launches(
    shape: Shape,
    dtype: torch.dtype,
    options: str = 'softmax',
    tiles: int = 0,
    units: int = 132,
) -> list[Launch]:
    """Return the kernels of one training step, in order, on a card with `units` multiprocessors."""
    weighted, use_sigmoid = OPTIONS[options]
    with torch.device('meta'):
        logits = torch.empty(shape.batch, shape.classes, shape.size, shape.size, dtype=dtype)
        label = torch.empty(shape.batch, shape.labels, shape.labels, dtype=torch.long)
        weights: tuple[Tensor | None, Tensor | None] = None, None
        if weighted:
            weights = torch.empty(shape.classes), torch.empty(label.shape)
    smoothing = 0.1 if weighted and not use_sigmoid else 0.0
    with recorded(backend) as found, mock.patch.object(backend, 'units', lambda device: units):
        backend.forward(
            logits, label, *weights, True, 255, smoothing, use_sigmoid, True, VARIANTS[tiles]
        )
    return found


def compile_kernel(
    kernel: str, architecture: int, dtype: str, options: str = 'softmax', tiles: int = 0
) -> Compiled:
    """Compile one kernel for 150 classes."""
    steps = launches(Shape(2, 150, 60), DTYPES[dtype], options, tiles)
    launch = next(step for step in steps if step.kernel == kernel)
    return compile_launch(launch, architecture, dtype, options, tiles, multiplies=False)


@dataclass(frozen=True)
class Prediction:
    """Least time of the loss and its gradient.

    Attributes:
        seconds: Of all kernels, each limited by memory or by exponentials.
        memory, exponentials: Seconds of memory traffic and of exponentials alone.
        num_bytes: Bytes that cross the memory bus.
        peak_bytes: Memory beyond inputs and gradient.
        pytorch_bytes: Bytes that cross the memory bus with resized logits.
        pytorch_seconds: Of that memory traffic.
    """

    seconds: float
    memory: float
    exponentials: float
    num_bytes: int
    peak_bytes: int
    pytorch_bytes: int
    pytorch_seconds: float


def predict(shape: Shape, dtype: str, card: Card) -> Prediction:
    """Predict forward and backward on a card, with the default tile sizes and aligned corners.

    Every tensor crosses the memory bus once for each kernel. Every thread computes an exponential
    for every class, whether its pixel is inside or not.
    """
    steps = {step.kernel: step for step in launches(shape, DTYPES[dtype], 'softmax', 0, card.units)}
    cells = neighbours(shape.size, shape.labels, True, torch.int32, torch.device('cpu')).start
    tile_rows = VARIANTS[0].rows
    rows = int((-(-cells.diff() // tile_rows)).sum()) * tile_rows
    total = memory = exponentials = 0.0
    num_bytes = 0
    for name, step in steps.items():
        tensors = {t.data_ptr() or id(t): t for t in step.arguments if isinstance(t, Tensor)}
        size = sum(tensor.nbytes for tensor in tensors.values())
        threads = 0
        options, grid = step.options, step.grid
        if name == 'normalise':
            classes = -(-shape.classes // options['UNROLL']) * options['UNROLL']
            threads = shape.batch * rows * grid[1] * options['BLOCK_X'] * classes
        elif name == 'differentiate':
            # Every group of rows but the first computes the cell above it, too.
            cells_of_all = (shape.size + grid[0] - 1) / shape.size
            lanes = grid[1] * options['BLOCK_C'] * options['BLOCK_X']
            threads = shape.batch * round(shape.labels * cells_of_all) * lanes
        parts = size / card.bandwidth, threads / card.exponentials
        num_bytes += size
        memory += parts[0]
        exponentials += parts[1]
        total += max(parts) + LAUNCH_SECONDS
    # Backward multiplies the kept gradient by a scalar.
    small = shape.batch * shape.classes * shape.size**2
    size = small * (4 + DTYPES[dtype].itemsize)
    pixels = shape.batch * shape.labels**2
    largest = steps['normalise'].arguments
    return Prediction(
        seconds=total + size / card.bandwidth + LAUNCH_SECONDS,
        memory=memory + size / card.bandwidth,
        exponentials=exponentials,
        num_bytes=num_bytes + size,
        peak_bytes=4 * small + sum(t.nbytes for t in largest[8:11]),
        pytorch_bytes=_PYTORCH_BYTES * pixels * shape.classes,
        pytorch_seconds=_PYTORCH_BYTES * pixels * shape.classes / card.bandwidth,
    )
