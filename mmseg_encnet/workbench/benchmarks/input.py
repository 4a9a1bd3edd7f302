"""Benchmark of the input pipelines: samples per second on one core.

The transforms of a config run one after the other, as Pillow, OpenCV and the toolbox compute them,
and with :class:`~mmseg_encnet.datasets.transforms.ResizeAndCrop`, on photographs that are drawn
here. Processor time is measured, which other programs on the machine hardly affect. All contenders
draw the same random numbers, and their results are compared.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import TRANSFORMS
from tqdm import tqdm

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.datasets.transforms import native
from mmseg_encnet.datasets.transforms.resize_and_crop import combined
from mmseg_encnet.workbench.benchmarks.measure import Stopwatch, seconds
from mmseg_encnet.workbench.machine import describe_machine

PLAIN = 'one after the other'
PILLOW = 'ResizeAndCrop, Pillow'
KERNELS = 'ResizeAndCrop, kernels'
_CPU = torch.device('cpu')
# Octaves of the drawn photographs, and their amplitude relative to the one before. The files then
# have the size of photographs: about 90 kB at 500x375.
_OCTAVES = 9
_AMPLITUDE = 0.75
_QUALITY = 95


@dataclass(frozen=True)
class Case:
    """A config and the usual size of its images.

    Attributes:
        data: Name of the data set.
        config: Name of the config whose training pipeline runs.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
    """

    data: str
    config: str
    height: int
    width: int


CASES = (
    Case('Pascal Context', 'encnet_r50_pcontext', 375, 500),
    Case('ADE20K', 'encnet_r50_ade20k', 512, 683),
    Case('Cityscapes', 'encnet_r50_cityscapes', 1024, 2048),
    Case('MSRC-21', 'encnet_r50_msrc21', 213, 320),
    Case('ADE20K (MMSegmentation)', 'encnet_r50v1c_ade20k', 512, 683),
)


def run(
    cases: tuple[Case, ...] = CASES, images: int = 8, views: int = 2, rounds: int = 15
) -> dict[str, Any]:
    """Measure all cases on one core, with a progress bar.

    Args:
        cases: The configs.
        images: Number of drawn photographs.
        views: Random views of each photograph in a repetition.
        rounds: Repetitions, of which the median is reported.

    Returns:
        ``machine``, ``cases`` and ``rows``, one for each case and contender: ``sample_ms``,
        ``per_second``, ``equal`` (whether all results have the bits of the first contender) and
        ``steps`` (mean milliseconds of each transform).
    """
    rows: list[dict[str, Any]] = []
    described = []
    contenders = [PLAIN, PILLOW, *([KERNELS] if native.available() else [])]
    bar = tqdm(total=(rounds + 1) * len(cases) * len(contenders), desc='input')
    with tempfile.TemporaryDirectory() as folder, _one_thread():
        machine = describe_machine(_CPU)
        for case in cases:
            files = [_draw(Path(folder), case, seed) for seed in range(images)]
            described.append(
                dict(
                    asdict(case),
                    image_bytes=float(np.mean([Path(image).stat().st_size for image, _ in files])),
                )
            )
            plain = _transforms(case)
            pipelines = {name: plain if name == PLAIN else combined(plain) for name in contenders}
            runs = {
                name: partial(_all_views, pipeline, files, views, name != KERNELS)
                for name, pipeline in pipelines.items()
            }
            times = Stopwatch(rounds, 60.0, _CPU, time.process_time).medians(runs, bar.update)
            expected = list(runs[PLAIN]())
            for name in contenders:
                number = len(files) * views
                rows.append(
                    dict(
                        data=case.data,
                        contender=name,
                        sample_ms=1e3 * times[name] / number,
                        per_second=number / times[name],
                        equal=all(map(_same, expected, runs[name]())),
                        steps=_step_times(pipelines[name], files, views, name != KERNELS),
                    )
                )
    bar.close()
    return dict(machine=machine, cases=described, rows=rows)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one core, as each worker process of a data loader does."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def _draw(folder: Path, case: Case, seed: int) -> tuple[str, str]:
    """Write a JPEG file and its label, and return their paths.

    The photograph has details of all sizes; the label has regions of 12 classes with irregular
    borders.
    """
    rng = np.random.default_rng(seed)
    size = (case.width, case.height)
    image = _noise(rng, size, 3, _OCTAVES)
    low, high = np.percentile(image, (1, 99))
    image = ((image - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
    label = _noise(rng, size, 12, 4).argmax(axis=2).astype(np.uint8)
    stem = folder / f'{case.data}_{seed}'
    paths = f'{stem}.jpg', f'{stem}.png'
    cv2.imwrite(paths[0], image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    cv2.imwrite(paths[1], label)
    return paths


def _noise(
    rng: np.random.Generator, size: tuple[int, int], channels: int, octaves: int
) -> np.ndarray:
    """Return the sum of random values on finer and finer grids, ``(H, W, channels)`` float32."""
    width, height = size
    total = np.zeros((height, width, channels), np.float32)
    for octave in range(octaves):
        columns = min(2 ** (octave + 1), width)
        grid = (max(1, min(round(columns * height / width), height)), columns)
        for channel in range(channels):
            values = rng.standard_normal(grid, dtype=np.float32)
            finer = cv2.resize(values, size, interpolation=cv2.INTER_CUBIC)
            total[..., channel] += finer * _AMPLITUDE**octave
    return total


def _transforms(case: Case) -> list[Any]:
    """Return the transforms of the training pipeline, which may lie inside a wrapper."""
    cfg = load_config(case.config)
    init_default_scope(cfg.default_scope)
    dataset = cfg.train_dataloader.dataset
    while 'pipeline' not in dataset:
        dataset = dataset.dataset
    return [TRANSFORMS.build(step) for step in dataset.pipeline]


def _starts(files: list[tuple[str, str]], views: int) -> Iterator[dict[str, Any]]:
    """Seed and yield what a pipeline gets, for every view the same random numbers each time."""
    for seed in range(views * len(files)):
        image, label = files[seed % len(files)]
        np.random.seed(seed)
        yield dict(
            img_path=image,
            seg_map_path=label,
            reduce_zero_label=False,
            label_map=None,
            seg_fields=[],
        )


def _all_views(
    pipeline: list[Any], files: list[tuple[str, str]], views: int, without_kernels: bool
) -> list[Any]:
    """Return the samples of all views."""
    samples = []
    with native.not_used() if without_kernels else nullcontext():
        for results in _starts(files, views):
            for step in pipeline:
                results = step(results)
            samples.append(results)
    return samples


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    label, other_label = (sample['data_samples'].gt_sem_seg.data for sample in (one, other))
    return torch.equal(one['inputs'], other['inputs']) and torch.equal(label, other_label)


def _step_times(
    pipeline: list[Callable], files: list[tuple[str, str]], views: int, without_kernels: bool
) -> dict[str, float]:
    """Return the mean time of each transform in milliseconds, by its name."""
    times = {type(step).__name__: 0.0 for step in pipeline}
    with native.not_used() if without_kernels else nullcontext():
        for results in _starts(files, views):
            state = [results]
            for step in pipeline:
                # The next step takes what this one returns.
                run_step = partial(_advance, state, step)
                times[type(step).__name__] += seconds(run_step, _CPU, time.process_time)
    return {name: 1e3 * total / (len(files) * views) for name, total in times.items()}


def _advance(state: list[Any], step: Callable) -> None:
    state[0] = step(state[0])
