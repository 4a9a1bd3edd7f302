"""The contribution of each test image to a metric, for resampling of the images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS

from mmseg_encnet.workbench.reporting.confusion import areas_of_classes, count_pixels


@METRICS.register_module()
class ImageAreas(BaseMetric):
    """Collects intersection, predicted and true pixels of every class in every image.

    The only metric is ``image_areas``, integers ``(images, 3, classes)``. Pixels outside the
    classes are ignored, as in :class:`mmseg.evaluation.IoUMetric`.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels of a batch."""
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            truth = sample['gt_sem_seg']['data']
            # The toolbox's segmentors predict floating-point labels from a single score.
            predicted = sample['pred_sem_seg']['data'].long()
            self.results.append(areas_of_classes(count_pixels(truth, predicted, num_classes)))

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, np.ndarray]:
        return dict(image_areas=np.stack(results))


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
