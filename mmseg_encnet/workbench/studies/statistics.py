"""What the results of a study say, with the uncertainty that a small test set leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from mmseg.registry import DATASETS

from mmseg_encnet.evaluation.metrics.twin_pixel_accuracy import twin_indices
from mmseg_encnet.workbench.studies.definition import Run, Study, Variant
from mmseg_encnet.workbench.studies.image_areas import accuracy, mean_iou
from mmseg_encnet.workbench.studies.results import ResultFolder, RunResult

RESAMPLES = 4000

AreaMetric = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Summary:
    """One row of a study's table.

    Attributes:
        variant: Which.
        results: Of its finished runs, by seed.
        crashes: Reasons of its crashed runs, by seed.
        mean: Mean of the study's metric over the seeds, in percent; nan without results.
        deviation: Standard deviation over the seeds (n - 1); nan for fewer than two.
        difference: Mean difference to the baseline over the seeds that both have; None for the
            baseline itself or without such seeds.
        interval: The 95 % interval of the difference under resampling of the test images, the
            same images for both; None where there is no difference, or where the metric does not
            follow from the areas of :class:`ImageAreas`.
    """

    variant: Variant
    results: dict[int, RunResult]
    crashes: dict[int, str]
    mean: float
    deviation: float
    difference: float | None
    interval: tuple[float, float] | None


def summarise(study: Study, folder: ResultFolder) -> list[Summary]:
    """The rows of a study's table, in the order of its variants."""
    results: dict[str, dict[int, RunResult]] = {}
    crashes: dict[str, dict[int, str]] = {}
    for variant in study.variants:
        runs = [Run(variant, seed) for seed in study.seeds]
        read = {run.seed: folder.read(run) for run in runs}
        results[variant.name] = {s: result for s, result in read.items() if result is not None}
        reasons = {run.seed: folder.crash(run) for run in runs}
        crashes[variant.name] = {s: reason for s, reason in reasons.items() if reason is not None}
    baseline = results[study.baseline]
    metric = area_metric(study)
    return [
        _summary(study, metric, variant, results[variant.name], crashes[variant.name], baseline)
        for variant in study.variants
    ]


def area_metric(study: Study) -> AreaMetric | None:
    """How a study's metric follows from areas ``(..., 3, classes)``, summed over images.

    Returns:
        The function, or None for a metric other than ``mIoU`` and ``twinAcc``.
    """
    if study.metric == 'mIoU':
        return mean_iou
    if study.metric != 'twinAcc':
        return None
    dataset = study.runs[0].load(Path()).test_dataloader.dataset.type
    pairs = twin_indices(DATASETS.get(dataset).METAINFO)
    return partial(accuracy, classes=list(chain.from_iterable(pairs)))


def _summary(
    study: Study,
    metric: AreaMetric | None,
    variant: Variant,
    results: dict[int, RunResult],
    crashes: dict[int, str],
    baseline: dict[int, RunResult],
) -> Summary:
    values = [result.metrics[study.metric] for result in results.values()]
    mean = float(np.mean(values)) if values else float('nan')
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float('nan')
    shared = sorted(set(results) & set(baseline))
    if variant.name == study.baseline or not shared:
        return Summary(variant, results, crashes, mean, deviation, None, None)
    difference = float(
        np.mean(
            [
                results[seed].metrics[study.metric] - baseline[seed].metrics[study.metric]
                for seed in shared
            ]
        )
    )
    interval = None
    if metric is not None:
        interval = paired_interval(
            [results[seed].image_areas() for seed in shared],
            [baseline[seed].image_areas() for seed in shared],
            metric,
        )
    return Summary(variant, results, crashes, mean, deviation, difference, interval)


def paired_interval(
    areas: Sequence[np.ndarray],
    baseline: Sequence[np.ndarray],
    metric: AreaMetric = mean_iou,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """A 95 % bootstrap interval of a difference in a metric, in percentage points.

    Test images are drawn with replacement, the same for both sides and all seeds; the difference
    is the mean over the seeds. It says what another draw of test images would change, not what
    other seeds would.

    Args:
        areas: For each seed, integers ``(images, 3, classes)`` of :class:`ImageAreas`.
        baseline: The same of the baseline, for the same seeds and images.
        metric: What is compared, of areas summed over images.
        resamples: Number of draws.
        seed: Of the draws.

    Returns:
        The 2.5 and the 97.5 percentile.
    """
    images = len(areas[0])
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(images, np.full(images, 1 / images), size=resamples)
    difference = np.zeros(resamples)
    for ours, theirs in zip(areas, baseline):
        for sign, part in ((1, ours), (-1, theirs)):
            sums = (draws @ part.reshape(images, -1)).reshape(resamples, *part.shape[1:])
            difference += sign * metric(sums) / len(areas)
    low, high = np.percentile(difference, [2.5, 97.5])
    return float(low), float(high)
