"""Benchmark of a whole EncNet against the same network with mmseg's head.

Every measurement runs in a fresh process, whose peak memory belongs to one contender alone. The
contenders take turns, so drift of the machine affects all of them equally.
"""

from __future__ import annotations

import copy
import multiprocessing
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from tqdm import tqdm

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.models.input_channels import input_channels
from mmseg_encnet.workbench.benchmarks.measure import seconds
from mmseg_encnet.workbench.machine import describe_machine, peak_process_bytes

# Changes to the config's decode head.
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
    """What to measure.

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


def run(config: str, case: Case, rounds: int) -> dict[str, Any]:
    """Measure all contenders at all tasks, with a progress bar.

    Args:
        config: Name or path of a config with an ``EncodingHead``; pretrained weights are not
            loaded.
        case: Image size, batch, threads, device.
        rounds: Processes for each contender and task; each counts one run after a warm-up.

    Returns:
        ``machine``, ``config``, ``case`` and ``measurements``, one for each contender and task:
        ``seconds`` of every round, their ``median``, and ``peak_bytes``, the peak memory of the
        process (CPU) or of the device's allocator over all rounds.
    """
    model_cfg = load_config(config).model
    spawn = multiprocessing.get_context('spawn')
    measurements = []
    bar = tqdm(total=len(TASKS) * len(CONTENDERS) * rounds, unit='process')
    for task in TASKS:
        measured: dict[str, list[tuple[float, int]]] = {name: [] for name in CONTENDERS}
        for _ in range(rounds):
            for name in CONTENDERS:
                cfg = with_head(model_cfg, name)
                with ProcessPoolExecutor(1, mp_context=spawn) as process:
                    measured[name].append(process.submit(_run, cfg, case, task).result())
                bar.update()
        for name, runs in measured.items():
            times, peaks = zip(*runs)
            values = dict(seconds=times, peak_bytes=max(peaks), median=statistics.median(times))
            measurements.append(dict(contender=name, task=task, **values))
    bar.close()
    return dict(
        # The measured processes set the threads, not this one.
        machine=dict(describe_machine(torch.device(case.device)), threads=case.threads),
        config=config,
        case=asdict(case),
        measurements=measurements,
    )


def with_head(model_cfg: dict, contender: str) -> dict:
    """Return a copy of a model's config with the head of a contender."""
    model_cfg = copy.deepcopy(model_cfg)
    # `update` of the toolbox's dictionaries would merge the two configs of the SE loss.
    model_cfg['decode_head'] = {**model_cfg['decode_head'], **CONTENDERS[contender]}
    return model_cfg


def _run(model_cfg: dict, case: Case, task: str) -> tuple[float, int]:
    """Return the seconds of the second run and the peak memory in bytes of this process."""
    torch.set_num_threads(case.threads)
    torch.manual_seed(0)
    init_default_scope('mmseg')
    model = MODELS.build(ConfigDict(model_cfg)).to(case.device)
    step = _training_step(model, case) if task == 'training step' else _inference(model, case)
    step()
    device = torch.device(case.device)
    return seconds(step, device), peak_process_bytes(device)


def _training_step(model: torch.nn.Module, case: Case) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
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
        loss, _ = model.parse_losses(model.loss(images, samples))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _inference(model: torch.nn.Module, case: Case) -> Callable[[], None]:
    model.eval()
    channels = input_channels(model.backbone)
    image = torch.randn(1, channels, case.height, case.width, device=case.device)

    @torch.no_grad()
    def step() -> None:
        model.predict(image)

    return step
