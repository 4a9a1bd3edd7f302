"""Benchmark of the cross-entropy at the size of the labels.

The backends are compared with resizing the logits and PyTorch's cross-entropy, forward and
backward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from mmseg_encnet.ops import upsampled_cross_entropy
from mmseg_encnet.ops.upsampled_cross_entropy import BACKENDS
from mmseg_encnet.workbench.benchmarks.measure import Stopwatch, kept_bytes, peak_bytes
from mmseg_encnet.workbench.machine import describe_machine

RESIZED = 'F.interpolate, F.cross_entropy'
IGNORED = 255


@dataclass(frozen=True)
class Shape:
    """Sizes of a case.

    Attributes:
        classes: Number of classes.
        batch: Images.
        size: Height and width of the logits.
        stride: How many times larger the labels are.
    """

    classes: int
    batch: int = 2
    size: int = 60
    stride: int = 8


SHAPES = tuple(Shape(classes) for classes in (19, 59, 150))


class Case:
    """Random logits, and labels in blocks as in images, of which some are ignored."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        size = shape.batch, shape.classes, shape.size, shape.size
        self.logits = torch.randn(size, generator=generator).to(device).requires_grad_()
        label = torch.randint(
            shape.classes, (shape.batch, shape.size, shape.size), generator=generator
        )
        label[:, : shape.size // 10] = IGNORED
        for dim in (1, 2):
            label = label.repeat_interleave(shape.stride, dim)
        self.label = label.to(device)


Loss = Callable[[Tensor, Tensor], Tensor]


def _resized(logits: Tensor, label: Tensor) -> Tensor:
    resized = F.interpolate(logits, size=label.shape[1:], mode='bilinear')
    return F.cross_entropy(resized, label, ignore_index=IGNORED)


def _step(loss: Loss, case: Case) -> tuple[Tensor, Tensor]:
    value = loss(case.logits, case.label)
    return value, torch.autograd.grad(value, case.logits)[0]


CONTENDERS: dict[str, Loss] = {
    RESIZED: _resized,
    # The reference is what the others are compared with.
    **{
        name: partial(upsampled_cross_entropy, backend=name, ignore_index=IGNORED)
        for name in BACKENDS
        if name != 'reference'
    },
}


def run(
    device: torch.device, shapes: tuple[Shape, ...] = SHAPES, rounds: int = 15
) -> dict[str, Any]:
    """Measure all contenders on all shapes, with a progress bar.

    Args:
        device: Device to measure on.
        shapes: The cases.
        rounds: Repetitions, of which the median is reported.

    Returns:
        ``machine``, ``cases``, ``rows`` (one for every shape and contender: ``step_ms``;
        ``peak_bytes`` without inputs and gradients and ``kept_bytes`` for backward) and
        ``not_measured`` (reasons by contender).
    """
    probe = torch.empty(0, device=device)
    missing = {
        name: BACKENDS[name].refusal(probe) if name in BACKENDS else None for name in CONTENDERS
    }
    present = {name: loss for name, loss in CONTENDERS.items() if missing[name] is None}
    watch = Stopwatch(rounds, budget=10.0, device=device)
    bar = tqdm(total=(rounds + 1) * len(shapes) * len(present), desc='loss')
    rows = []
    for shape in shapes:
        case = Case(shape, device)
        steps = {name: partial(_step, loss, case) for name, loss in present.items()}
        times = watch.medians(steps, bar.update)
        for name, loss in present.items():
            forward = partial(loss, case.logits, case.label)
            rows.append(
                dict(
                    classes=shape.classes,
                    contender=name,
                    step_ms=1e3 * times[name],
                    peak_bytes=peak_bytes(steps[name], device),
                    kept_bytes=kept_bytes(forward, (case.logits, case.label)),
                )
            )
    bar.close()
    return dict(
        machine=describe_machine(device),
        cases=[asdict(shape) for shape in shapes],
        rows=rows,
        not_measured={name: reason for name, reason in missing.items() if reason},
    )
