"""Bytes, products and launches of the encoding, and the time that a card needs at least."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mmseg_encnet.ops.encode.triton.tiles import padded_codes
from mmseg_encnet.workbench.kernels.compiled import DTYPES, Launch
from mmseg_encnet.workbench.kernels.encoding import STREAMING, launches
from mmseg_encnet.workbench.kernels.hardware import Card

# Assumed, not published: from the end of one kernel to the start of the next in the same stream.
LAUNCH_SECONDS = 2e-6
# Tensor-core products of one matrix product of features, float32 as three tf32 products.
_SINGLE = {'assign': 3, 'gather': 3, 'differentiate': 9}
# In half precision, by (products of that precision, tf32 products).
_HALF = {'assign': (2, 0), 'gather': (2, 0), 'differentiate': (2, 2)}


@dataclass(frozen=True)
class Shape:
    """Sizes of an encoding, with features ``(batch, channels, height, width)``."""

    batch: int
    channels: int
    height: int
    width: int
    codes: int

    def __str__(self) -> str:
        return f'{self.batch} x {self.channels} x {self.height} x {self.width}, K {self.codes}'

    @property
    def positions(self) -> int:
        return self.height * self.width

    @property
    def product(self) -> int:
        """Floating-point operations of one matrix product, with the codewords padded."""
        return 2 * self.batch * self.positions * self.channels * padded_codes(self.codes)


@dataclass(frozen=True)
class Prediction:
    """Least time of a pass, in seconds.

    Attributes:
        seconds: Of all kernels, each limited by memory or by products.
        memory, products: Of memory traffic and of products alone.
        floor: If the features crossed the memory bus once (backward: and their gradient once), and
            nothing else took time.
        num_bytes: Bytes that cross the memory bus.
        launches: Kernels; `small` of them prepare or add up.
        small: See `launches`.
    """

    seconds: float
    memory: float
    products: float
    floor: float
    num_bytes: int
    launches: int
    small: int


def _seconds_of_products(kernel: str, shape: Shape, dtype: torch.dtype, card: Card) -> float:
    if kernel not in STREAMING:
        return 0.0
    if dtype == torch.float32:
        return _SINGLE[kernel] * shape.product / card.tf32
    half, single = _HALF[kernel]
    return shape.product * (half / card.half + single / card.tf32)


def _bytes(launch: Launch, cached: bool) -> int:
    """Return the bytes of a kernel's tensors, each of which crosses the memory bus once."""
    tensors = [value for value in launch.arguments if isinstance(value, torch.Tensor)]
    if cached and launch.kernel == 'gather':
        # The kernel before it has read the features.
        del tensors[0]
    return sum(tensor.nbytes for tensor in tensors)


def predict(shape: Shape, dtype: str, card: Card, backward: bool) -> Prediction:
    """Predict the forward pass, or forward and backward, on a card.

    The features of a pass's second kernel come from the L2 cache if they fit there, with their
    gradient in the backward pass; otherwise they are read again.
    """
    kind = DTYPES[dtype]
    sizes = shape.batch, shape.channels, shape.positions, shape.codes
    steps = launches(*sizes, kind, backward=backward)
    features = shape.batch * shape.channels * shape.positions * kind.itemsize
    total = memory = products = 0.0
    num_bytes, in_backward = 0, False
    for step in steps:
        in_backward |= step.kernel == 'differentiate'
        size = _bytes(step, cached=features * (1 + in_backward) <= card.cache)
        per_kernel = size / card.bandwidth, _seconds_of_products(step.kernel, shape, kind, card)
        num_bytes += size
        memory += per_kernel[0]
        products += per_kernel[1]
        total += max(per_kernel) + LAUNCH_SECONDS
    return Prediction(
        seconds=total,
        memory=memory,
        products=products,
        floor=features * (3 if backward else 1) / card.bandwidth,
        num_bytes=num_bytes,
        launches=len(steps),
        small=sum(step.kernel not in STREAMING for step in steps),
    )
