"""Agreement of the predicted pixels with the presence that the SE branch predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.evaluation.metrics.percentage import percentage
from mmseg_encnet.evaluation.metrics.presence_metric import presence_of
from mmseg_encnet.models.labels import label_pixels
from mmseg_encnet.models.segmentors import absent_classes


class _Counts(NamedTuple):
    """Counts of one image; all int64.

    Attributes:
        pixels: Number of labelled pixels, of those predicted as an absent class, and of wrong
            pixels among the latter, ``(3,)``.
        plain: Intersection, union, predicted and true pixels of each class, ``(4, num_classes)``.
        suppressed: The same with absent classes suppressed.
    """

    pixels: Tensor
    plain: Tensor
    suppressed: Tensor


@METRICS.register_module()
class ContextConsistency(BaseMetric):
    """Measures how many pixels are predicted as classes that the SE branch predicts to be absent.

    These are false detections that context could have prevented. A class is absent if its presence
    is below the threshold, except for the most probable class; these are the classes that
    ``test_cfg=dict(presence_threshold=...)`` suppresses. Only labelled pixels count, each with the
    class that ``seg_logits`` gives it, so a ``presence_threshold`` of the segmentor does not
    change the results.

    The results, all in percent, are logged as

    - ``context/contradicted``: share of the pixels predicted as absent classes;
    - ``context/veto_precision``: share of these pixels that are wrong (nan if there are none);
    - ``context/mIoU``: mIoU as predicted;
    - ``context/mIoU_suppressed``: mIoU with absent classes suppressed, where each pixel gets the
      best remaining class.

    Args:
        threshold: Presence below which a class is absent. If the SE branch is uncertain about rare
            classes, 0.5 also suppresses present ones: before suppressing classes, compare several
            thresholds, each in a metric with a different prefix.
        ignore_index: Label of unlabelled pixels.
        prefix: Prefix of the names of the results.
        **kwargs: Other arguments of :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        UserError: The threshold is not a probability, or a prediction has no presence or no score
            for each class.
    """

    default_prefix = 'context'

    def __init__(
        self, threshold: float = 0.5, ignore_index: int = 255, prefix: str | None = None, **kwargs
    ) -> None:
        super().__init__(prefix=prefix, **kwargs)
        if not 0 <= threshold <= 1:
            raise UserError(
                f'threshold must be a probability from 0 to 1, got {threshold}; below 0.5 a class '
                'is more likely absent than present.'
            )
        self.threshold = threshold
        self.ignore_index = ignore_index

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels of each image.

        Args:
            data_batch: Not used.
            data_samples: Samples with ``gt_sem_seg``, ``seg_logits`` and ``presence``.
        """
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            presence = presence_of(sample, num_classes, type(self).__name__)
            # A single score for two classes comes with the threshold of its head.
            score_threshold = sample.get('score_threshold')
            expected = num_classes if score_threshold is None else 1
            if len(sample.get('seg_logits', {}).get('data', ())) != expected:
                raise UserError(
                    'got predictions without matching seg_logits, expected one score for each of '
                    f'the {num_classes} classes; use a ContextEncoderDecoder with '
                    f'out_channels={num_classes}, or remove ContextConsistency.'
                )
            scores = sample['seg_logits']['data']
            truth = sample['gt_sem_seg']['data'].squeeze(0).to(scores.device)
            absent = absent_classes(presence, self.threshold).to(scores.device)
            prediction, suppressed = (
                label_pixels(scores, score_threshold, classes)[0] for classes in (None, absent)
            )
            labelled = truth != self.ignore_index
            contradicted = labelled & absent[prediction]
            wrong = contradicted & (prediction != truth)
            self.results.append(
                _Counts(
                    torch.stack([mask.sum() for mask in (labelled, contradicted, wrong)]).cpu(),
                    *(
                        torch.stack(
                            IoUMetric.intersect_and_union(
                                labels, truth, num_classes, self.ignore_index
                            )
                        ).long()
                        for labels in (prediction, suppressed)
                    ),
                )
            )

    def compute_metrics(self, results: list[_Counts]) -> dict[str, float]:
        """Sum the counts of all images and return the metrics listed in the class docstring."""
        pixels, plain, suppressed = (torch.stack(counts).sum(dim=0) for counts in zip(*results))
        labelled, contradicted, wrong = pixels.tolist()
        return dict(
            contradicted=percentage(contradicted, labelled),
            veto_precision=percentage(wrong, contradicted),
            mIoU=_mean_iou(plain),
            mIoU_suppressed=_mean_iou(suppressed),
        )


def _mean_iou(areas: Tensor) -> float:
    metrics = IoUMetric.total_area_to_metrics(*areas.double())
    return percentage(np.nanmean(metrics['IoU']))
