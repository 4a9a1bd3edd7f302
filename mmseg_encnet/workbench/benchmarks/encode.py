"""Benchmark of the encoding operator.

The backends are compared with mmseg's `Encoding`, with the matrix products that the operator needs
at the minimum, and with the roofline of the machine.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from mmseg.models.decode_heads import EncHead
from mmseg.models.utils import Encoding
from torch import Tensor
from tqdm import tqdm

from mmseg_encnet.ops import encode, presence_targets
from mmseg_encnet.ops.encode import BACKENDS, reference
from mmseg_encnet.workbench.benchmarks.measure import (
    Stopwatch,
    kept_bytes,
    peak_bandwidth,
    peak_bytes,
    peak_flops,
)
from mmseg_encnet.workbench.machine import describe_machine

PRODUCTS = 'matrix products'
MMSEG = 'mmseg Encoding'
COMPILED = 'torch.compile'


@dataclass(frozen=True)
class Shape:
    """Sizes and statistics of a case: ReLU features and codewords initialised as published.

    Attributes:
        name: Label of the case.
        batch, channels, height, width, codes: Sizes.
        smoothing: Multiplier of the published smoothing factors; 1 saturates the assignments.
        channels_last: Whether the features are in channels-last layout.
        dtype: Dtype of the features.
        offset: Offset of features and codewords.
    """

    name: str
    batch: int = 2
    channels: int = 512
    height: int = 60
    width: int = 60
    codes: int = 32
    smoothing: float = 1.0
    channels_last: bool = False
    offset: float = 0.0
    dtype: str = 'float32'

    @property
    def products(self) -> int:
        """Floating-point operations of one matrix product."""
        return 2 * self.batch * self.height * self.width * self.channels * self.codes


SHAPES = (
    Shape('published start'),
    Shape('published start, channels last', channels_last=True),
    Shape('unsaturated', smoothing=1 / 512),
    Shape('unsaturated, channels last', smoothing=1 / 512, channels_last=True),
    Shape('common offset of 10', smoothing=1 / 512, offset=10.0),
)
# Large enough to fill a GPU, also in half precision, which is several times as fast.
LARGE = Shape('16 x 512 x 90 x 90', batch=16, height=90, width=90)
GPU_SHAPES = (
    Shape('bfloat16', dtype='bfloat16'),
    LARGE,
    Shape('16 x 512 x 90 x 90, bfloat16', batch=16, height=90, width=90, dtype='bfloat16'),
    Shape('16 x 512 x 90 x 90, float16', batch=16, height=90, width=90, dtype='float16'),
)
GROWTH = {
    'N': tuple(
        Shape(f'N {64 * w}', batch=1, height=64, width=w) for w in (16, 64, 256, 1024, 4096)
    ),
    'B': tuple(Shape(f'B {b}', batch=b) for b in (1, 2, 4, 8, 16)),
    'K': tuple(Shape(f'K {k}', codes=k) for k in (8, 16, 32, 64, 128)),
}


class Case:
    """Random tensors of a shape."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        size = shape.batch, shape.channels, shape.height, shape.width
        x = torch.randn(size, generator=generator).relu_().add_(shape.offset)
        x = x.to(getattr(torch, shape.dtype))
        if shape.channels_last:
            x = x.to(memory_format=torch.channels_last)
        std = (shape.codes * shape.channels) ** -0.5
        codewords = torch.empty(shape.codes, shape.channels).uniform_(
            -std, std, generator=generator
        )
        scale = torch.empty(shape.codes).uniform_(-1, 0, generator=generator) * shape.smoothing
        grad = torch.randn(shape.batch, shape.codes, shape.channels, generator=generator)
        self.shape, self.grad = shape, grad.to(device)
        self.inputs = tuple(
            t.to(device).requires_grad_() for t in (x, codewords + shape.offset, scale)
        )


@dataclass(frozen=True)
class Contender:
    """One way to compute the encoding, or part of it.

    Attributes:
        forward: Maps a case's tensors to the encoding.
        step: Maps a case to what it computed; by default, forward and backward.
        refusal: Maps a tensor to the reason why the contender does not accept it, or None.
        operator: Whether this is a whole encoding, whose memory is measured too.
        only_first: Whether to measure the first shape (on a GPU, also the largest) only, because
            each call takes seconds or gigabytes.
    """

    forward: Callable[..., Any]
    step: Callable[[Case], Any] | None = None
    refusal: Callable[[Tensor], str | None] = lambda tensor: None
    operator: bool = True
    only_first: bool = False

    def run_step(self, case: Case) -> Any:
        if self.step is not None:
            return self.step(case)
        encoded = self.forward(*case.inputs)
        return encoded, *torch.autograd.grad(encoded, case.inputs, case.grad.to(encoded))


def _mmseg(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    layer = Encoding(x.shape[1], len(scale))
    # The case's tensors replace the parameters.
    del layer.codewords, layer.scale
    layer.codewords, layer.scale = codewords, scale
    return layer(x)


@functools.cache
def _compiled_reference() -> Callable[..., Tensor]:
    return torch.compile(reference.encode)


def _compiled(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    return _compiled_reference()(x.flatten(2), codewords, scale)


def _needs_gpu(tensor: Tensor) -> str | None:
    return None if tensor.is_cuda else 'it is compared on GPUs only'


def _operands(x: Tensor, codewords: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x = x.detach().flatten(2)
    dictionary = codewords.detach().to(x.dtype).expand(len(x), *codewords.shape)
    weights = x.new_ones(len(x), len(codewords), x.shape[2])
    return x, x.transpose(1, 2), dictionary, weights


def _two_products(x: Tensor, codewords: Tensor, scale: Tensor) -> None:
    x, positions, dictionary, weights = _operands(x, codewords)
    torch.bmm(dictionary, x)
    torch.bmm(weights, positions)
    x.sum()


def _six_products(case: Case) -> None:
    x, positions, dictionary, weights = _operands(*case.inputs[:2])
    for left in (dictionary, case.grad.to(x.dtype)):
        torch.bmm(left, x)
        torch.bmm(weights, positions)
        # The gradient of the features, in their own layout.
        if case.shape.channels_last:
            torch.bmm(weights.transpose(1, 2), left)
        else:
            torch.bmm(left.transpose(1, 2), weights)


def _backend(name: str) -> Contender:
    return Contender(partial(encode, backend=name), refusal=BACKENDS[name].refusal)


CONTENDERS = {
    PRODUCTS: Contender(_two_products, _six_products, operator=False),
    # The reference expands its input as mmseg's layer does.
    **{name: _backend(name) for name in BACKENDS if name != 'reference'},
    MMSEG: Contender(_mmseg, only_first=True),
    COMPILED: Contender(_compiled, refusal=_needs_gpu, only_first=True),
}


def _presence(device: torch.device, watch: Stopwatch) -> list[dict[str, Any]]:
    labels = torch.randint(0, 59, (16, 480, 480), device=device)
    labels[torch.rand(labels.shape, device=device) < 0.1] = 255
    runs = {
        'presence_targets': lambda: presence_targets(labels, 59),
        'mmseg loop over images': lambda: EncHead._convert_to_onehot_labels(labels, 59),
    }
    return [dict(contender=name, ms=1e3 * t) for name, t in watch.medians(runs).items()]


def _fits(step: Callable[[], Any]) -> bool:
    try:
        step()
    except torch.cuda.OutOfMemoryError:
        return False
    return True


def run(
    device: torch.device,
    shapes: tuple[Shape, ...] | None = None,
    growth: dict[str, tuple[Shape, ...]] = GROWTH,
    contenders: dict[str, Contender] = CONTENDERS,
    rounds: int = 15,
) -> dict[str, Any]:
    """Measure all contenders on all shapes, with a progress bar.

    Args:
        device: Device to measure on.
        shapes: Cases for all contenders; by default `SHAPES` and, on a GPU, `GPU_SHAPES`.
        growth: By size, the cases of the scaling curves, which the matrix products, the backends
            of ``backend='auto'`` and the Triton kernels run.
        contenders: By name; those that cannot run here are listed as not measured.
        rounds: Repetitions, of which the median is reported.

    Returns:
        ``machine``, ``roofline``, ``shapes`` (a row for every shape and contender), ``growth``,
        ``presence``, ``not_measured`` (reasons by contender) and ``too_large`` (pairs of shape and
        contender that need more memory than the GPU has); times in milliseconds, memory in bytes.
    """
    if shapes is None:
        shapes = SHAPES + (GPU_SHAPES if device.type == 'cuda' else ())
    probe = torch.empty(0, device=device)
    missing = {name: contender.refusal(probe) for name, contender in contenders.items()}
    present = {name: c for name, c in contenders.items() if missing[name] is None}
    shown = (PRODUCTS, *BACKENDS.auto, 'triton')
    growing = {name: present[name] for name in shown if name in present}
    grown = [shape for axis in growth.values() for shape in axis]
    often = shapes[0], LARGE
    entries = [
        (shape, {name: c for name, c in present.items() if not c.only_first or shape in often})
        for shape in shapes
    ]
    turns = sum(len(entrants) for _, entrants in entries) + len(grown) * len(growing)
    bar = tqdm(total=2 * (rounds + 1) * turns, desc='encode')
    watch = Stopwatch(rounds, budget=2.0, device=device)
    dtypes = dict.fromkeys(('float32', *(shape.dtype for shape in shapes)))
    peaks = {dtype: peak_flops(device, getattr(torch, dtype)) for dtype in dtypes}
    bandwidth = peak_bandwidth(device)

    too_large: list[list[str]] = []

    def measure(shape: Shape, entrants: dict[str, Contender]) -> list[dict[str, Any]]:
        case = Case(shape, device)
        fitting = {name: c for name, c in entrants.items() if _fits(partial(c.run_step, case))}
        too_large.extend([shape.name, name] for name in entrants if name not in fitting)
        bar.update(2 * (rounds + 1) * (len(entrants) - len(fitting)))
        entrants = fitting
        forward = {name: partial(c.forward, *case.inputs) for name, c in entrants.items()}
        step = {name: partial(c.run_step, case) for name, c in entrants.items()}
        with torch.no_grad():
            forward_times = watch.medians(forward, bar.update)
        step_times = watch.medians(step, bar.update)
        x_bytes = case.inputs[0].nbytes
        rows = []
        for name, contender in entrants.items():
            row = dict(
                shape=shape.name,
                contender=name,
                forward_ms=1e3 * forward_times[name],
                step_ms=1e3 * step_times[name],
            )
            if contender.operator:
                row.update(
                    kept_bytes=kept_bytes(forward[name], case.inputs),
                    peak_x=peak_bytes(step[name], device) / x_bytes,
                )
            rows.append(row)
        flops = peaks[shape.dtype]
        roofline = dict(
            forward_ms=1e3 * max(2 * shape.products / flops, x_bytes / bandwidth),
            step_ms=1e3 * max(6 * shape.products / flops, 3 * x_bytes / bandwidth),
        )
        return [*rows, dict(shape=shape.name, contender='roofline', **roofline)]

    results = dict(
        machine=describe_machine(device),
        roofline=dict(gflops=peaks['float32'] / 1e9, gb_per_s=bandwidth / 1e9),
        cases=[asdict(shape) for shape in shapes],
        shapes=[row for shape, entrants in entries for row in measure(shape, entrants)],
        growth={
            axis: [row for shape in cases for row in measure(shape, growing)]
            for axis, cases in growth.items()
        },
        presence=_presence(device, watch),
        not_measured={name: reason for name, reason in missing.items() if reason},
        too_large=too_large,
    )
    bar.close()
    return results
