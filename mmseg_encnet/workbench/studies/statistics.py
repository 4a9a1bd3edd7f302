"""Means, differences and confidence intervals of a study's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from math import nan
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from mmseg.registry import DATASETS

from mmseg_encnet.errors import UserError
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
        variant: The variant.
        results: Results of its finished runs, by seed.
        crashes: Why its other runs crashed, by seed.
        mean: Mean of the study's metric over the seeds, in percent; NaN without results.
        deviation: Sample standard deviation over the seeds; NaN for fewer than two.
        difference: Mean difference from the baseline over the seeds that both have; None for the
            baseline itself or without such seeds.
        interval: 95 % interval of the difference, :func:`paired_interval`; None for fewer than two
            shared seeds, or for a metric that :func:`area_metric` does not cover.
    """

    variant: Variant
    results: dict[int, RunResult]
    crashes: dict[int, str]
    mean: float
    deviation: float
    difference: float | None
    interval: tuple[float, float] | None


def summarise(study: Study, folder: ResultFolder) -> list[Summary]:
    """Return the rows of a study's table, in the order of its variants."""
    results, crashes = (
        {
            variant.name: {
                seed: found for seed in study.seeds if (found := read(Run(variant, seed)))
            }
            for variant in study.variants
        }
        for read in (folder.read, folder.crash)
    )
    baseline, metric = results[study.baseline], area_metric(study)
    return [
        _summary(study, metric, variant, results[variant.name], crashes[variant.name], baseline)
        for variant in study.variants
    ]


def area_metric(study: Study) -> AreaMetric | None:
    """Return the function from summed areas ``(..., 3, classes)`` to a study's metric.

    It is None for a metric other than ``mIoU`` and ``twinAcc``.
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
    for seed, result in results.items():
        missing = study.metric not in result.metrics
        other = baseline.get(seed, result)
        sizes = [(len(side.areas), side.num_classes) for side in (result, other)]
        if missing or sizes[0] != sizes[1]:
            reason = (
                f'has no metric {study.metric}'
                if missing
                else f'is for {sizes[0][0]} images and {sizes[0][1]} classes, expected '
                f'{sizes[1][0]} and {sizes[1][1]} as in the baseline'
            )
            raise UserError(
                f'the result of {variant.name!r} with seed {seed} {reason}; delete it to repeat '
                'the run.'
            )
    values, of_baseline = (
        {seed: result.metrics[study.metric] for seed, result in side.items()}
        for side in (results, baseline)
    )
    mean = fmean(values.values()) if values else nan
    deviation = stdev(values.values()) if len(values) > 1 else nan
    shared = sorted(values.keys() & of_baseline.keys())
    if variant.name == study.baseline or not shared:
        return Summary(variant, results, crashes, mean, deviation, None, None)
    difference = fmean(values[seed] - of_baseline[seed] for seed in shared)
    interval = None
    if metric is not None and len(shared) > 1:
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
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a difference in a metric, in percentage points.

    Test images and seeds are drawn with replacement, the same for both sides, and the difference
    is the mean over the drawn seeds. Of n seeds, n - 1 are drawn, which makes the variance of their
    mean unbiased (Rao and Wu, "Resampling inference with complex survey data", JASA 1988). With one
    seed, the interval covers the choice of test images only.

    Args:
        areas: For each seed, integers ``(images, 3, classes)`` of :class:`ImageAreas`.
        baseline: Areas of the baseline, for the same seeds and images.
        metric: Maps areas summed over images to the metric.

    Returns:
        The 2.5th and the 97.5th percentile.
    """
    differences = np.stack(
        [
            _resampled(ours, metric) - _resampled(theirs, metric)
            for ours, theirs in zip(areas, baseline)
        ]
    )
    seeds = len(differences)
    drawn = max(seeds - 1, 1)
    draws = np.random.default_rng(1).multinomial(drawn, np.full(seeds, 1 / seeds), RESAMPLES)
    return _middle((draws.T * differences).sum(axis=0) / drawn)


def bootstrap_interval(areas: np.ndarray, metric: AreaMetric = mean_iou) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a metric of areas ``(images, 3, classes)``."""
    return _middle(_resampled(areas, metric))


def _middle(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _resampled(areas: np.ndarray, metric: AreaMetric) -> np.ndarray:
    """Return the metric of images drawn with replacement, the same ones in each call."""
    images = len(areas)
    sums = _draws(images) @ areas.reshape(images, -1).astype(float)
    return metric(sums.reshape(RESAMPLES, *areas.shape[1:]))


# In floating point, which is exact for these numbers and much faster to multiply than integers.
@cache
def _draws(images: int) -> np.ndarray:
    """Return how often each image is drawn, ``(RESAMPLES, images)``."""
    generator = np.random.default_rng(0)
    return generator.multinomial(images, np.full(images, 1 / images), size=RESAMPLES).astype(float)
