"""Benchmark of a whole EncNet against the same network with mmseg's head.

Every measurement runs in a fresh process, whose peak memory belongs to one contender alone. The
contenders take turns, so drift of the machine affects all of them equally. A process repeats the
step as a training does: the heap of a process still grows in its second step, so timing that step
alone counts page faults that a training does not have, and most against the head that allocates
most.
"""

from __future__ import annotations

import copy
import inspect
import statistics
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from tqdm import tqdm

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.configuration.switches import computes_in_bfloat16
from mmseg_encnet.models.input_channels import input_channels
from mmseg_encnet.workbench.benchmarks.measure import in_fresh_process, seconds
from mmseg_encnet.workbench.machine import describe_machine, peak_process_bytes

TASKS = ('training step', 'inference')


@dataclass(frozen=True)
class Contender:
    """A network to measure.

    Attributes:
        changes: Options of the config's parts, by part.
        amp: Mixed precision of this contender; by default that of the case.
        tasks: What it is measured at.
    """

    changes: dict[str, dict]
    amp: str | None = None
    tasks: tuple[str, ...] = TASKS


_OWN = dict(decode_head=dict(type='EncodingHead'))
PLAIN_CONVOLUTIONS = "EncodingHead, conv_cfg='Conv2d'"
_PLAIN = dict(conv_cfg=dict(type='Conv2d'))
CONTENDERS: dict[str, Contender] = {
    'mmseg EncHead': Contender(
        dict(
            # The toolbox's backbone keeps everything, in PyTorch's convolutions.
            backbone=dict(recompute='none', **_PLAIN),
            decode_head=dict(
                type='EncHead',
                loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
                loss_se_decode=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.2),
            ),
            auxiliary_head=dict(
                type='FCNHead',
                channels=256,
                num_convs=1,
                concat_input=False,
                loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=0.2),
            ),
        )
    ),
    'EncodingHead': Contender(_OWN),
    "EncodingHead, recompute='most'": Contender(
        dict(_OWN, backbone=dict(recompute='most')), tasks=TASKS[:1]
    ),
    PLAIN_CONVOLUTIONS: Contender(
        dict(
            decode_head=dict(type='EncodingHead', **_PLAIN), auxiliary_head=_PLAIN, backbone=_PLAIN
        ),
        tasks=TASKS[:1],
    ),
    'EncodingHead, --amp': Contender(_OWN, amp='bfloat16', tasks=TASKS[:1]),
}


@dataclass(frozen=True)
class Case:
    """What to measure.

    Attributes:
        height, width: Size of the images in pixels.
        batch: Images in a training step; inference takes one.
        threads: CPU threads.
        device: ``cpu`` or ``cuda``.
        steps: Timed steps of every process, after one that is not timed.
        classes: Classes of the network; by default those of the config.
        amp: ``float16`` (with a loss scale) or ``bfloat16``; by default single precision.
    """

    height: int = 480
    width: int = 480
    batch: int = 2
    threads: int = 2
    device: str = 'cpu'
    steps: int = 3
    amp: str | None = None
    classes: int | None = None


def run(config: str, case: Case, rounds: int) -> dict[str, Any]:
    """Measure all contenders at all tasks, with a progress bar.

    Args:
        config: Name or path of a config with an ``EncodingHead``; pretrained weights are not
            loaded.
        case: Image size, batch, threads, device.
        rounds: Processes for each contender and task; each times `case.steps` after a warm-up.

    Returns:
        ``machine``, ``config``, ``case`` and ``measurements``, one for each contender and task:
        ``seconds`` of every timed step, their ``median``, ``peak_bytes``, the peak memory of the
        process (CPU) or of the device's allocator over all rounds, and ``synchronisations``, how
        often a step waits for the GPU (None on the CPU).
    """
    model_cfg = load_config(config).model
    if case.classes is not None:
        model_cfg = with_classes(model_cfg, case.classes)
    measurements = []
    contenders = {task: _contenders(model_cfg, case, task) for task in TASKS}
    bar = tqdm(total=sum(map(len, contenders.values())) * rounds, unit='process')
    for task in TASKS:
        measured: dict[str, list[tuple[list[float], int, int | None]]] = {
            name: [] for name in contenders[task]
        }
        for _ in range(rounds):
            for name, contender in contenders[task].items():
                cfg = with_parts(model_cfg, contender.changes)
                own = replace(case, amp=contender.amp or case.amp)
                measured[name].append(in_fresh_process(_run, cfg, own, task))
                bar.update()
        for name, runs in measured.items():
            times = [time for timed, _, _ in runs for time in timed]
            values = dict(seconds=times, median=statistics.median(times))
            values |= dict(peak_bytes=max(peak for _, peak, _ in runs), synchronisations=runs[0][2])
            measurements.append(dict(contender=name, task=task, **values))
    bar.close()
    return dict(
        # The measured processes set the threads, not this one.
        machine=dict(describe_machine(torch.device(case.device)), threads=case.threads),
        config=config,
        case=asdict(case),
        measurements=measurements,
    )


def with_parts(model_cfg: dict, changes: dict[str, dict]) -> dict:
    """Return a copy of a model's config with other options of its parts.

    Changes that a part has no argument for are left out, and so are options that a part of another
    type has no argument for.
    """
    model_cfg = copy.deepcopy(model_cfg)
    for part, options in changes.items():
        # `update` of the toolbox's dictionaries would merge the configs of the losses.
        changed = {**model_cfg[part], **options}
        known = {'type', *_arguments(MODELS.get(changed['type']))}
        if changed['type'] == model_cfg[part]['type']:
            # It may pass keywords on to more than its base classes.
            known |= model_cfg[part].keys()
        model_cfg[part] = {key: value for key, value in changed.items() if key in known}
    return model_cfg


def _arguments(part: type) -> Iterator[str]:
    """Yield the arguments of a class and of those that it passes keywords on to."""
    for base in part.__mro__:
        yield from inspect.signature(base.__init__).parameters


def with_classes(model_cfg: dict, classes: int) -> dict:
    """Return a copy of a model's config with another number of classes."""
    heads = [part for part in ('decode_head', 'auxiliary_head') if part in model_cfg]
    return with_parts(model_cfg, {head: dict(num_classes=classes) for head in heads})


def _contenders(model_cfg: dict, case: Case, task: str) -> dict[str, Contender]:
    """Return the contenders that differ from each other in this case."""
    own = with_parts(model_cfg, CONTENDERS['EncodingHead'].changes)

    def differs(contender: Contender) -> bool:
        if contender.amp is not None:
            return case.device == 'cpu' and case.amp is None and computes_in_bfloat16()
        if contender is CONTENDERS[PLAIN_CONVOLUTIONS]:
            # Elsewhere the convolutions are the same.
            return case.device == 'cpu' and case.amp is None
        plain = contender is CONTENDERS['EncodingHead']
        return plain or with_parts(model_cfg, contender.changes) != own

    return {
        name: contender
        for name, contender in CONTENDERS.items()
        if task in contender.tasks and differs(contender)
    }


def _run(model_cfg: dict, case: Case, task: str) -> tuple[list[float], int, int | None]:
    """Return the seconds of the timed steps, the peak memory in bytes, and synchronisations."""
    torch.set_num_threads(case.threads)
    torch.manual_seed(0)
    init_default_scope('mmseg')
    model = MODELS.build(ConfigDict(model_cfg)).to(case.device)
    step = training_step(model, case)[0] if task == 'training step' else _inference(model, case)
    device = torch.device(case.device)
    step()
    if device.type == 'cuda':
        # The first step also timed backends and algorithms, which takes memory.
        step()
        torch.cuda.reset_peak_memory_stats(device)
    times = [seconds(step, device) for _ in range(case.steps)]
    peak = peak_process_bytes(device)
    return times, peak, synchronisations(step) if device.type == 'cuda' else None


def synchronisations(step: Callable[[], None]) -> int:
    """Return how often PyTorch finds that a call waits for the GPU."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode('default')
    return sum('synchronizing CUDA operation' in str(warning.message) for warning in caught)


def _autocast(case: Case) -> torch.autocast:
    dtype = getattr(torch, case.amp or 'bfloat16')
    return torch.autocast(case.device, dtype, enabled=case.amp is not None)


def training_step(
    model: torch.nn.Module, case: Case
) -> tuple[Callable[[], None], list[SegDataSample]]:
    """Return a function that trains a model for one step, and the labels it trains on."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    scaler = torch.amp.GradScaler(case.device, enabled=case.amp == 'float16')
    size = (case.height, case.width)
    channels = input_channels(model.backbone)
    images = torch.randn(case.batch, channels, *size, device=case.device)
    samples = []
    for _ in range(case.batch):
        # Regions of one class, as in images, and some ignored pixels.
        label = torch.randint(model.num_classes, (1, 1, 8, 8), dtype=torch.float)
        label = torch.nn.functional.interpolate(label, size).long()[0]
        label[:, :8] = 255
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=label.to(case.device))))

    def step() -> None:
        with _autocast(case):
            loss, _ = model.parse_losses(model.loss(images, samples))
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        # As the toolbox's trainer does: no gradients exist during the forward pass.
        optimizer.zero_grad()

    return step, samples


def _inference(model: torch.nn.Module, case: Case) -> Callable[[], None]:
    model.eval()
    channels = input_channels(model.backbone)
    image = torch.randn(1, channels, case.height, case.width, device=case.device)

    @torch.no_grad()
    def step() -> None:
        with _autocast(case):
            model.predict(image)

    return step
