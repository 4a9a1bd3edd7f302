"""The contribution of each test image to a metric, for resampling of the images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS

from mmseg_encnet.models.labels import label_pixels
from mmseg_encnet.ops import presence_targets
from mmseg_encnet.workbench.reporting.confusion import areas_of_classes, count_pixels


@METRICS.register_module()
class ImageAreas(BaseMetric):
    """Collects intersection, predicted and true pixels of every class in every image.

    The only metric is ``image_areas``, integers ``(images, 3, classes)``. Pixels outside the
    classes are ignored, as in :class:`mmseg.evaluation.IoUMetric`.

    Args:
        given_presence: Label pixels only with classes that are in the image's ground truth, as a
            network could that knows which classes are present. The metric is then called
            ``image_areas_given_presence``, and predictions need ``seg_logits``.
    """

    def __init__(self, given_presence: bool = False) -> None:
        super().__init__()
        self.given_presence = given_presence

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels of a batch."""
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            truth = sample['gt_sem_seg']['data']
            if self.given_presence:
                absent = ~presence_targets(truth.long(), num_classes)[0].bool()
                scores = sample['seg_logits']['data']
                predicted = label_pixels(scores, sample.get('score_threshold'), absent)
            else:
                # The toolbox's segmentors predict floating-point labels from a single score.
                predicted = sample['pred_sem_seg']['data'].long()
            self.results.append(areas_of_classes(count_pixels(truth, predicted, num_classes)))

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, np.ndarray]:
        name = 'image_areas_given_presence' if self.given_presence else 'image_areas'
        return {name: np.stack(results)}


def mean_iou(areas: np.ndarray) -> np.ndarray:
    """Return the mean IoU, in percent, of areas ``(..., 3, classes)`` without absent classes."""
    intersection, predicted, true = np.moveaxis(areas.astype(float), -2, 0)
    union = predicted + true - intersection
    iou = np.divide(intersection, union, out=np.full_like(union, np.nan), where=union > 0)
    return 100 * np.nanmean(iou, axis=-1)


def accuracy(areas: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Return the accuracy, in percent, of areas ``(..., 3, classes)`` over some classes."""
    intersection, _, true = np.moveaxis(areas[..., list(classes)].sum(axis=-1), -1, 0)
    return 100 * intersection / true
