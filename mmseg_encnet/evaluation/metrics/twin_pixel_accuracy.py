"""Accuracy where only context can help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS

from mmseg_encnet.errors import UserError


@METRICS.register_module()
class TwinPixelAccuracy(BaseMetric):
    """Share of twin pixels that get exactly the right class.

    Twins are classes that look alike, named in pairs by the data set's ``metainfo['twins']``. A
    twin pixel is one whose truth is one of a pair. A network that recognises the pair but has to
    guess which of the two it sees gets 50 %.

    The results are percentages of pixels over the whole data set: ``twinAcc`` over all pairs,
    ``twinAcc_A_B`` over one; nan where the data set shows no such pixel.

    Args:
        **kwargs: Arguments of :class:`mmengine.evaluator.BaseMetric`.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count each image's twin pixels.

        Args:
            data_batch: Not used.
            data_samples: Samples with ``gt_sem_seg`` and ``pred_sem_seg``, class indices of shape
                (1, H, W).

        Raises:
            UserError: If the data set names no twins, or names one that is not among its classes.
        """
        pairs = twin_indices(self.dataset_meta)
        for sample in data_samples:
            truth = sample['gt_sem_seg']['data']
            right = sample['pred_sem_seg']['data'].to(truth.device) == truth
            masks = [torch.isin(truth, torch.tensor(pair, device=truth.device)) for pair in pairs]
            self.results.append([(int((mask & right).sum()), int(mask.sum())) for mask in masks])

    def compute_metrics(self, results: list[list[tuple[int, int]]]) -> dict[str, float]:
        """Sum the counts of all images; see the class for the keys."""
        counts = np.sum(results, axis=0)
        metrics = dict(twinAcc=_percentage(*counts.sum(axis=0)))
        for names, pair_counts in zip(self.dataset_meta['twins'], counts):
            metrics[f'twinAcc_{"_".join(names)}'] = _percentage(*pair_counts)
        return metrics


def twin_indices(meta: Mapping[str, Any] | None) -> list[list[int]]:
    """The class indices of each pair of twins that a data set's metainfo names.

    Raises:
        UserError: If it names no twins, or names one that is not among its classes.
    """
    meta = meta or {}
    if not meta.get('twins'):
        raise UserError(
            "TwinPixelAccuracy needs metainfo['twins'], pairs of class names, but the data set "
            'has none; use it with ContextScenesDataset, or name twins in the metainfo of '
            'yours.'
        )
    classes = list(meta['classes'])
    strangers = [name for pair in meta['twins'] for name in pair if name not in classes]
    if strangers:
        raise UserError(
            f"metainfo['twins'] names {strangers[0]!r}, but the classes are "
            f'{", ".join(classes)}; name twins that are among them.'
        )
    return [[classes.index(name) for name in pair] for pair in meta['twins']]


def _percentage(right: int, total: int) -> float:
    return round(100 * float(right) / float(total), 2) if total else float('nan')
