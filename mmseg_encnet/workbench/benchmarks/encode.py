"""The encoding operator against mmseg's `Encoding`, its bare matrix products and the roofline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from mmseg.models.decode_heads import EncHead
from mmseg.models.utils import Encoding
from torch import Tensor

from mmseg_encnet.ops import encode, presence_targets
from mmseg_encnet.ops.encode import triton as triton_kernels
from mmseg_encnet.ops.encode.native import backend as native_backend
from mmseg_encnet.workbench.benchmarks.measure import (
    Stopwatch,
    describe_machine,
    kept_bytes,
    peak_bandwidth,
    peak_bytes,
    peak_flops,
)

PRODUCTS = 'matrix products'
MMSEG = 'mmseg Encoding'


@dataclass(frozen=True)
class Shape:
    """A case: features after a ReLU with a dictionary initialised as published.

    Args:
        name: What is special about it.
        batch, channels, height, width, codes: Sizes.
        smoothing: Factor on the published smoothing factors; 1 saturates the assignments.
        channels_last: Memory layout of the features.
        offset: Added to features and codewords.
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

    @property
    def products(self) -> int:
        """Multiply-adds of one matrix product, times two."""
        return 2 * self.batch * self.height * self.width * self.channels * self.codes


SHAPES = (
    Shape('published start'),
    Shape('published start, channels last', channels_last=True),
    Shape('unsaturated', smoothing=1 / 512),
    Shape('unsaturated, channels last', smoothing=1 / 512, channels_last=True),
    Shape('common offset of 10', smoothing=1 / 512, offset=10.0),
)
GROWTH = {
    'N': tuple(
        Shape(f'N {64 * w}', batch=1, height=64, width=w) for w in (16, 64, 256, 1024, 4096)
    ),
    'B': tuple(Shape(f'B {b}', batch=b) for b in (1, 2, 4, 8, 16)),
    'K': tuple(Shape(f'K {k}', codes=k) for k in (8, 16, 32, 64, 128)),
}


class Case:
    """The tensors of a shape."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        size = shape.batch, shape.channels, shape.height, shape.width
        x = torch.randn(size, generator=generator).relu_().add_(shape.offset)
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
    """What is measured: a forward pass without and a step with gradients.

    Args:
        forward: Takes a case's tensors and returns the encoding.
        step: Takes a case and returns what it computed; by default forward and backward.
        missing: Why it cannot run on a device, or None.
        operator: Whether it is an encoding, whose memory is of interest.
        only_first: Measured on the first shape alone, because it takes seconds.
    """

    forward: Callable[..., Any]
    step: Callable[[Case], Any] | None = None
    missing: Callable[[torch.device], str | None] = field(default=lambda device: None)
    operator: bool = True
    only_first: bool = False

    def run_step(self, case: Case) -> Any:
        if self.step is not None:
            return self.step(case)
        encoded = self.forward(*case.inputs)
        return encoded, *torch.autograd.grad(encoded, case.inputs, case.grad)


def _mmseg(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    layer = Encoding(x.shape[1], len(scale))
    # Its parameters give way to the case's tensors.
    del layer.codewords, layer.scale
    layer.codewords, layer.scale = codewords, scale
    return layer(x)


def _operands(x: Tensor, codewords: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x = x.detach().flatten(2)
    dictionary = codewords.detach().expand(len(x), *codewords.shape)
    weights = x.new_ones(len(x), len(codewords), x.shape[2])
    return x, x.transpose(1, 2), dictionary, weights


def _two_products(x: Tensor, codewords: Tensor, scale: Tensor) -> None:
    x, positions, dictionary, weights = _operands(x, codewords)
    torch.bmm(dictionary, x)
    torch.bmm(weights, positions)
    x.sum()


def _six_products(case: Case) -> None:
    x, positions, dictionary, weights = _operands(*case.inputs[:2])
    for left in (dictionary, case.grad):
        torch.bmm(left, x)
        torch.bmm(weights, positions)
        # The gradient of the features, in their own layout.
        if case.shape.channels_last:
            torch.bmm(weights.transpose(1, 2), left)
        else:
            torch.bmm(left.transpose(1, 2), weights)


def _backend(name: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda x, codewords, scale: encode(x, codewords, scale, backend=name)


def _without_cuda(device: torch.device) -> str | None:
    return None if device.type == 'cuda' else 'no CUDA GPU'


def _without_native(device: torch.device) -> str | None:
    if not native_backend.AVAILABLE:
        return 'its kernels were not built'
    return None if device.type == 'cpu' else 'for the CPU only'


def _without_triton(device: torch.device) -> str | None:
    if not triton_kernels.AVAILABLE:
        return 'triton is not installed'
    return _without_cuda(device)


def _without_mmcv(device: torch.device) -> str | None:
    try:
        import mmcv.ops  # noqa: F401
    except (ImportError, AssertionError):
        return 'mmcv has no compiled operators'
    return _without_cuda(device)


CONTENDERS = {
    PRODUCTS: Contender(_two_products, _six_products, operator=False),
    'native': Contender(_backend('native'), missing=_without_native),
    'dense': Contender(_backend('dense')),
    'triton': Contender(_backend('triton'), missing=_without_triton),
    'mmcv': Contender(_backend('mmcv'), missing=_without_mmcv),
    MMSEG: Contender(_mmseg, only_first=True),
}


def _presence(device: torch.device, watch: Stopwatch) -> list[dict[str, Any]]:
    labels = torch.randint(0, 59, (16, 480, 480), device=device)
    labels[torch.rand(labels.shape, device=device) < 0.1] = 255
    runs = {
        'presence_targets': lambda: presence_targets(labels, 59),
        'mmseg loop over images': lambda: EncHead._convert_to_onehot_labels(labels, 59),
    }
    return [dict(contender=name, ms=1e3 * t) for name, t in watch.medians(runs).items()]


def run(
    device: torch.device,
    shapes: tuple[Shape, ...] = SHAPES,
    growth: dict[str, tuple[Shape, ...]] = GROWTH,
    contenders: dict[str, Contender] = CONTENDERS,
    rounds: int = 15,
    progress: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """Measure all contenders on all shapes.

    Args:
        device: Where to measure.
        shapes: Cases for all contenders.
        growth: For the operators that ``backend='auto'`` takes and the bare products: by size, the
            cases along which they grow.
        contenders: By name; those that cannot run here are listed as not measured.
        rounds: Repetitions; medians are reported.
        progress: Called as ``tqdm`` is, with ``total`` and ``desc``; None for no display.

    Returns:
        ``machine``, ``roofline``, ``shapes`` (a row for every shape and contender), ``growth``,
        ``presence`` and ``not_measured`` (reasons by contender); times in milliseconds.
    """
    missing = {name: contender.missing(device) for name, contender in contenders.items()}
    present = {name: c for name, c in contenders.items() if missing[name] is None}
    growing = {name: present[name] for name in (PRODUCTS, 'native', 'dense') if name in present}
    grown = [shape for axis in growth.values() for shape in axis]
    entries = [
        (shape, {name: c for name, c in present.items() if not (c.only_first and i)})
        for i, shape in enumerate(shapes)
    ]
    turns = sum(len(entrants) for _, entrants in entries) + len(grown) * len(growing)
    total = 2 * (rounds + 1) * turns
    bar = progress(total=total, desc='encode') if progress else None
    tick = bar.update if bar else lambda: None
    watch = Stopwatch(rounds, budget=2.0, device=device)
    flops, bandwidth = peak_flops(device), peak_bandwidth(device)

    def measure(shape: Shape, entrants: dict[str, Contender]) -> list[dict[str, Any]]:
        case = Case(shape, device)
        forward = {name: _call(c.forward, *case.inputs) for name, c in entrants.items()}
        step = {name: _call(c.run_step, case) for name, c in entrants.items()}
        with torch.no_grad():
            forward_times = watch.medians(forward, tick)
        step_times = watch.medians(step, tick)
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
                kept = kept_bytes(forward[name], case.inputs)
                row.update(kept_mb=kept / 1e6, peak_x=peak_bytes(step[name], device) / x_bytes)
            rows.append(row)
        roofline = dict(
            forward_ms=1e3 * max(2 * shape.products / flops, x_bytes / bandwidth),
            step_ms=1e3 * max(6 * shape.products / flops, 3 * x_bytes / bandwidth),
        )
        return [*rows, dict(shape=shape.name, contender='roofline', **roofline)]

    results = dict(
        machine=describe_machine(device),
        roofline=dict(gflops=flops / 1e9, gb_per_s=bandwidth / 1e9),
        cases=[asdict(shape) for shape in shapes],
        shapes=[row for shape, entrants in entries for row in measure(shape, entrants)],
        growth={
            axis: [row for shape in cases for row in measure(shape, growing)]
            for axis, cases in growth.items()
        },
        presence=_presence(device, watch),
        not_measured={name: reason for name, reason in missing.items() if reason},
    )
    if bar:
        bar.close()
    return results


def _call(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: function(*arguments)
