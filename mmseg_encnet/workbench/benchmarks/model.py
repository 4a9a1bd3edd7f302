"""A whole EncNet against the same network with the toolbox's own head.

Every measurement runs in a process of its own, so that peak memory is that contender's alone; the
contenders take turns, so that a machine whose speed drifts treats them alike.
"""

from __future__ import annotations

import copy
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass

import torch
from mmengine.config import ConfigDict

# What differs from the config's own decode head.
CONTENDERS: dict[str, dict] = {
    'mmseg EncHead': dict(
        type='EncHead',
        loss_se_decode=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.2),
    ),
    'EncodingHead': dict(type='EncodingHead'),
}
TASKS = ('training step', 'inference')


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        height, width: Size of the images in pixels.
        batch: Images in a training step; inference takes one.
        threads: CPU threads.
        device: ``cpu`` or ``cuda``.
    """

    height: int = 480
    width: int = 480
    batch: int = 2
    threads: int = 2
    device: str = 'cpu'


@dataclass(frozen=True)
class Measurement:
    """One contender at one task.

    Attributes:
        contender: Key of :data:`CONTENDERS`.
        task: One of :data:`TASKS`.
        seconds: Time of each counted run, in seconds.
        peak_bytes: Peak memory of the process (CPU) or of the device's allocator, largest of all
            rounds.
    """

    contender: str
    task: str
    seconds: tuple[float, ...]
    peak_bytes: int

    @property
    def median(self) -> float:
        """Median time in seconds."""
        return statistics.median(self.seconds)

    def as_json(self) -> dict:
        """Everything, for a file."""
        return dict(asdict(self), median=self.median)


def measure(
    model_cfg: dict, case: Case, rounds: int, on_progress: Callable[[], None]
) -> Iterator[Measurement]:
    """Measure all contenders at all tasks.

    Args:
        model_cfg: Model config with an ``EncodingHead``; pretrained weights are not loaded.
        case: Image size, batch, threads, device.
        rounds: Processes for each contender and task; each counts one run after a warm-up.
        on_progress: Called after each process.

    Yields:
        One measurement for each contender and task.
    """
    spawn = multiprocessing.get_context('spawn')
    for task in TASKS:
        seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        peak = dict.fromkeys(CONTENDERS, 0)
        for _ in range(rounds):
            for name, changes in CONTENDERS.items():
                cfg = copy.deepcopy(model_cfg)
                cfg['decode_head'].update(changes)
                with ProcessPoolExecutor(1, mp_context=spawn) as process:
                    run_seconds, run_peak = process.submit(_run, cfg, case, task).result()
                seconds[name].append(run_seconds)
                peak[name] = max(peak[name], run_peak)
                on_progress()
        for name in CONTENDERS:
            yield Measurement(name, task, tuple(seconds[name]), peak[name])


def _run(model_cfg: dict, case: Case, task: str) -> tuple[float, int]:
    """Seconds of the second run, and the peak memory in bytes; in a fresh process."""
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    import mmseg_encnet  # noqa: F401  (registers the parts)

    torch.set_num_threads(case.threads)
    torch.manual_seed(0)
    init_default_scope('mmseg')
    model = MODELS.build(ConfigDict(model_cfg)).to(case.device)
    step = _training_step(model, case) if task == 'training step' else _inference(model, case)
    step()
    _wait(case)
    start = time.perf_counter()
    step()
    _wait(case)
    seconds = time.perf_counter() - start
    if case.device == 'cuda':
        return seconds, torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == 'darwin' else 1024
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _training_step(model: torch.nn.Module, case: Case) -> Callable[[], None]:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    size = (case.height, case.width)
    images = torch.randn(case.batch, 3, *size, device=case.device)
    samples = []
    for _ in range(case.batch):
        # Blocks of a class, as images have them, and some ignored pixels.
        label = torch.randint(model.num_classes, (1, 1, 8, 8), dtype=torch.float)
        label = torch.nn.functional.interpolate(label, size).long()[0]
        label[:, :8] = 255
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=label.to(case.device))))

    def step() -> None:
        loss, _ = model.parse_losses(model.loss(images, samples))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _inference(model: torch.nn.Module, case: Case) -> Callable[[], None]:
    model.eval()
    image = torch.randn(1, 3, case.height, case.width, device=case.device)

    @torch.no_grad()
    def step() -> None:
        model.predict(image)

    return step


def _wait(case: Case) -> None:
    if case.device == 'cuda':
        torch.cuda.synchronize()
