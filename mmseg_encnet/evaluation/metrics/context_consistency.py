"""Whether the pixels agree with what the SE branch says about the image."""

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
from mmseg_encnet.evaluation.metrics.presence_metric import presence_of
from mmseg_encnet.models.segmentors import absent_classes, suppress_absent


class _Counts(NamedTuple):
    """What one image adds; all int64.

    Attributes:
        pixels: Labelled pixels, pixels of absent classes among them, wrong ones among these.
        plain: Intersection, union, prediction and truth of each class, ``(4, num_classes)``.
        suppressed: The same once absent classes are removed.
    """

    pixels: Tensor
    plain: Tensor
    suppressed: Tensor


@METRICS.register_module()
class ContextConsistency(BaseMetric):
    """How many predicted pixels belong to classes that the SE branch calls absent.

    These are the false detections that context should have prevented. Absent is a class whose
    presence is below the threshold, the most probable class excepted: exactly the classes that
    ``test_cfg=dict(presence_threshold=...)`` removes. The pixels are the labelled ones, each with
    the class of the largest ``seg_logits``: the figures do not depend on a ``presence_threshold``
    of the segmentor.

    The results, all in percent, are logged as

    - ``context/contradicted``: share of the pixels that belong to absent classes;
    - ``context/veto_precision``: share of these pixels that are wrong (nan if there are none);
    - ``context/mIoU``: mIoU of all pixels as predicted;
    - ``context/mIoU_suppressed``: mIoU with the absent classes removed, each pixel going to the
      best of the others.

    Args:
        threshold: Presence below which a class is absent. The default is where the SE branch calls
            absence more likely than presence. A branch that is unsure of rare classes loses true
            ones there; try several, each metric with a prefix of its own, before suppressing.
        ignore_index: Label of pixels without class.
        prefix: What the names of the results begin with.
        **kwargs: Any other argument of :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        UserError: If the threshold is no probability, or a prediction has no presence or no score
            for each class.
    """

    default_prefix = 'context'

    def __init__(
        self, threshold: float = 0.5, ignore_index: int = 255, prefix: str | None = None, **kwargs
    ) -> None:
        super().__init__(prefix=prefix, **kwargs)
        if not 0 <= threshold <= 1:
            raise UserError(
                f'threshold={threshold} came, a probability from 0 to 1 was expected; '
                '0.5 is where absence becomes more likely than presence.'
            )
        self.threshold = threshold
        self.ignore_index = ignore_index

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count each image's pixels.

        Args:
            data_batch: Not used.
            data_samples: Samples with ``gt_sem_seg``, ``seg_logits`` and ``presence``.
        """
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            presence = presence_of(sample, num_classes, type(self).__name__)
            if len(sample.get('seg_logits', {}).get('data', ())) != num_classes:
                raise UserError(
                    'ContextConsistency needs seg_logits with one score for each of the '
                    f'{num_classes} classes, but the predictions have none or others; use a '
                    f'ContextEncoderDecoder with out_channels={num_classes}, or drop the metric.'
                )
            scores = sample['seg_logits']['data']
            truth = sample['gt_sem_seg']['data'].squeeze(0).to(scores.device)
            prediction = scores.argmax(dim=0)
            suppressed = suppress_absent(scores, presence, self.threshold).argmax(dim=0)
            labelled = truth != self.ignore_index
            contradicted = labelled & absent_classes(presence, self.threshold)[prediction]
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
        """Sum the counts of all images; see the class for the keys."""
        pixels, plain, suppressed = (torch.stack(counts).sum(dim=0) for counts in zip(*results))
        labelled, contradicted, wrong = pixels.tolist()
        return dict(
            contradicted=_percentage(contradicted, labelled),
            veto_precision=_percentage(wrong, contradicted),
            mIoU=_mean_iou(plain),
            mIoU_suppressed=_mean_iou(suppressed),
        )


def _mean_iou(areas: Tensor) -> float:
    metrics = IoUMetric.total_area_to_metrics(*areas.double())
    return round(100 * float(np.nanmean(metrics['IoU'])), 2)


def _percentage(part: int, total: int) -> float:
    return round(100 * part / total, 2) if total else float('nan')
