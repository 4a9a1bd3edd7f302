"""Benchmark of inference: mmseg's own EncNet, and ours with each runtime and precision.

Every measurement runs in a fresh process, whose peak memory belongs to one contender alone. The
contenders take turns, so drift of the machine affects all of them equally.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmseg.models import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from tqdm import tqdm

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.models.decode_heads.targets import stacked_presence
from mmseg_encnet.models.input_channels import input_channels
from mmseg_encnet.runtimes import choose_runtime, set_runtime
from mmseg_encnet.workbench.benchmarks import model as heads
from mmseg_encnet.workbench.benchmarks.measure import Stopwatch, in_fresh_process, seconds
from mmseg_encnet.workbench.machine import describe_machine, peak_process_bytes

MMSEG = 'mmseg EncHead'
CPU = torch.device('cpu')


@dataclass(frozen=True)
class Contender:
    """A network with what computes it.

    Attributes:
        network: Key of the configs of :func:`run`, or :data:`MMSEG`.
        runtime: As of :func:`mmseg_encnet.runtimes.choose_runtime`.
        precision: See there.
    """

    network: str
    runtime: str
    precision: str


_WAYS = (
    ('torch', 'float32'),
    ('torch', 'bfloat16'),
    ('onnxruntime', 'float32'),
    ('openvino', 'float32'),
    ('openvino', 'bfloat16'),
)
NETWORKS = ('dilated', 'JPU')
CONTENDERS = (
    Contender(MMSEG, 'torch', 'float32'),
    *(Contender(network, *way) for network in NETWORKS for way in _WAYS),
)


@dataclass(frozen=True)
class Case:
    """What to measure.

    Attributes:
        height, width: Size of the image in pixels.
        threads: CPU threads.
        steps: Timed images of every process.
    """

    height: int = 480
    width: int = 480
    threads: int = 2
    steps: int = 3


def run(configs: dict[str, str], case: Case, rounds: int) -> dict[str, Any]:
    """Measure all contenders on the CPU, with a progress bar.

    Args:
        configs: For each of :data:`NETWORKS` the name or path of a config with an
            ``EncodingHead``; pretrained weights are not loaded. mmseg's head replaces that of the
            first one.
        case: Image size, threads.
        rounds: Processes for each contender; each times `case.steps` images after a warm-up.

    Returns:
        ``machine``, ``configs``, ``case``, ``not_measured`` (reasons by contender),
        ``measurements``, one for each contender: ``seconds`` of every timed image, their ``median``
        and ``peak_bytes``, the peak memory of the process over all rounds; ``context``, see
        :func:`context_seconds`, and ``training``, see :func:`training_seconds`.
    """
    models = {name: load_config(config).model for name, config in configs.items()}
    models[MMSEG] = heads.with_parts(models[NETWORKS[0]], heads.CONTENDERS[MMSEG].changes)
    models[MMSEG]['type'] = 'EncoderDecoder'
    missing = {contender: _why_not(contender) for contender in CONTENDERS}
    present = [contender for contender, reason in missing.items() if reason is None]
    measured: dict[Contender, list[tuple[list[float], int]]] = {name: [] for name in present}
    bar = tqdm(total=len(present) * (rounds + 1) + 2, unit='process')
    with tempfile.TemporaryDirectory() as cache:
        # The first process exports, which takes memory that inference does not need.
        for turn in range(rounds + 1):
            for contender in present:
                result = in_fresh_process(
                    _measure, models[contender.network], contender, case, cache
                )
                if turn:
                    measured[contender].append(result)
                bar.update()
    results: dict[str, Any] = {}
    for name, function in (('context', context_seconds), ('training', training_seconds)):
        results[name] = in_fresh_process(function, models[NETWORKS[0]], case, max(rounds, 3))
        bar.update()
    bar.close()
    return dict(
        # The measured processes set the threads, not this one.
        machine=dict(describe_machine(CPU), threads=case.threads),
        configs=configs,
        case=asdict(case),
        measurements=[_summary(contender, runs) for contender, runs in measured.items()],
        not_measured=[
            dict(asdict(contender), reason=reason)
            for contender, reason in missing.items()
            if reason
        ],
        **results,
    )


def context_seconds(model_cfg: dict, case: Case, rounds: int) -> dict[str, float]:
    """Return the time of an image with presence and suppression, and without SE branch.

    Returns:
        ``with`` and ``without``: medians in seconds.
    """
    torch.set_num_threads(case.threads)
    without = heads.with_parts(model_cfg, dict(decode_head=dict(use_se_loss=False)))
    plain, suppressing = _build(without), _build(model_cfg)
    suppressing.test_cfg['presence_threshold'] = 0.5
    for segmentor in (plain, suppressing):
        set_runtime(segmentor, choose_runtime(device='cpu'), None, model_cfg)
    steps = {'without': _step(plain, case), 'with': _step(suppressing, case)}
    return Stopwatch(3 * rounds, 600.0, CPU).medians(steps)


def training_seconds(model_cfg: dict, case: Case, rounds: int) -> dict[str, float]:
    """Return the time of a training step of two images, and that of the SE branch in it.

    Returns:
        ``step`` and ``se``, the forward and backward pass of the SE branch with the presence
        targets: medians in seconds.
    """
    torch.set_num_threads(case.threads)
    segmentor = _build(model_cfg).train()
    step, samples = heads.training_step(
        segmentor, heads.Case(case.height, case.width, threads=case.threads)
    )
    head = segmentor.decode_head
    vector = torch.rand(len(samples), head.channels, requires_grad=True)

    def branch() -> None:
        targets = stacked_presence(samples, head.num_classes, head.ignore_index)
        head.loss_se_decode(head.se_layer(vector), targets).backward()

    return Stopwatch(rounds, 600.0, CPU).medians(dict(step=step, se=branch))


def _why_not(contender: Contender) -> str | None:
    try:
        choose_runtime(contender.runtime, contender.precision, 'cpu')
    except UserError as error:
        return str(error)
    return None


def _measure(
    model_cfg: dict, contender: Contender, case: Case, cache: str
) -> tuple[list[float], int]:
    """Return the seconds of the timed images, and the peak memory in bytes."""
    torch.set_num_threads(case.threads)
    os.environ['XDG_CACHE_HOME'] = cache
    segmentor = _build(model_cfg)
    if contender.network != MMSEG:
        choice = choose_runtime(contender.runtime, contender.precision, 'cpu')
        set_runtime(segmentor, choice, None, model_cfg)
    step = _step(segmentor, case)
    step()
    return [seconds(step, CPU) for _ in range(case.steps)], peak_process_bytes(CPU)


def _build(model_cfg: dict) -> BaseSegmentor:
    torch.manual_seed(0)
    init_default_scope('mmseg')
    return MODELS.build(ConfigDict(model_cfg)).eval()


def _step(segmentor: BaseSegmentor, case: Case) -> Callable[[], None]:
    channels = input_channels(segmentor.backbone)
    image = torch.randn(1, channels, case.height, case.width)
    size = (case.height, case.width)

    @torch.no_grad()
    def step() -> None:
        # As the tools label images: without the scores of all classes.
        meta = dict(img_shape=size, ori_shape=size, keep_seg_logits=False)
        segmentor.predict(image, [SegDataSample(metainfo=meta)])

    return step


def _summary(contender: Contender, runs: list[tuple[list[float], int]]) -> dict[str, Any]:
    times = [time for timed, _ in runs for time in timed]
    return dict(
        asdict(contender),
        seconds=times,
        median=statistics.median(times),
        peak_bytes=max(peak for _, peak in runs),
    )
