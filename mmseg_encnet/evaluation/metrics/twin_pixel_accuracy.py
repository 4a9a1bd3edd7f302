"""Pixel accuracy of classes that only context can distinguish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS

from mmseg_encnet.errors import UserError
from mmseg_encnet.evaluation.metrics.percentage import percentage


@METRICS.register_module()
class TwinPixelAccuracy(BaseMetric):
    """Pixel accuracy over the pixels of twin classes.

    Twins are pairs of classes that look alike, listed in the data set's ``metainfo['twins']``. A
    network that recognises a pair but guesses between its two classes scores 50 %.

    The results are percentages over the whole data set: ``twinAcc`` over all pairs,
    ``twinAcc_A_B`` over one pair; nan if there are no such pixels.

    Args:
        **kwargs: Arguments of :class:`mmengine.evaluator.BaseMetric`.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the twin pixels of each image.

        Args:
            data_batch: Not used.
            data_samples: Samples with ``gt_sem_seg`` and ``pred_sem_seg``, class indices
                ``(1, H, W)``.

        Raises:
            UserError: The data set has no twins, or one of them is not among its classes.
        """
        pairs = twin_indices(self.dataset_meta)
        for sample in data_samples:
            truth = sample['gt_sem_seg']['data']
            right = sample['pred_sem_seg']['data'].to(truth.device) == truth
            masks = [torch.isin(truth, torch.tensor(pair, device=truth.device)) for pair in pairs]
            self.results.append([(int((mask & right).sum()), int(mask.sum())) for mask in masks])

    def compute_metrics(self, results: list[list[tuple[int, int]]]) -> dict[str, float]:
        """Sum the counts of all images and return the metrics listed in the class docstring."""
        counts = np.sum(results, axis=0)
        metrics = dict(twinAcc=percentage(*counts.sum(axis=0)))
        for names, pair_counts in zip(self.dataset_meta['twins'], counts):
            metrics[f'twinAcc_{"_".join(names)}'] = percentage(*pair_counts)
        return metrics


def twin_indices(meta: Mapping[str, Any] | None) -> list[list[int]]:
    """Return the class indices of each pair of twins in a data set's metainfo.

    Raises:
        UserError: The metainfo lists no twins, or one of them is not among the classes.
    """
    meta = meta or {}
    if not meta.get('twins'):
        raise UserError(
            "got a data set without metainfo['twins'], expected pairs of class names for "
            'TwinPixelAccuracy; add them to the metainfo, or use ContextScenesDataset.'
        )
    classes = list(meta['classes'])
    unknown = [name for pair in meta['twins'] for name in pair if name not in classes]
    if unknown:
        raise UserError(
            f"unknown class {unknown[0]!r} in metainfo['twins']; choose from {', '.join(classes)}."
        )
    return [[classes.index(name) for name in pair] for pair in meta['twins']]
