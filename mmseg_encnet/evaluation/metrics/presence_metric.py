"""Quality of the presence that the SE branch predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from mmseg.registry import METRICS
from prettytable import PrettyTable
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.evaluation.metrics.percentage import percentage
from mmseg_encnet.ops import presence_targets

# Presence from which a class counts as predicted present.
PRESENT = 0.5


class CalibrationBins(NamedTuple):
    """A reliability diagram: predicted probability against observed frequency.

    Attributes:
        edges: Bounds of the bins, ``(num_bins + 1,)``, from 0 to 1 in equal steps; a bin contains
            its upper bound, the first one also 0.
        counts: Number of predictions in each bin, ``(num_bins,)``.
        confidence: Mean predicted probability of each bin, nan for empty bins.
        frequency: Share of present classes in each bin, nan for empty bins.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    frequency: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error from 0 to 1, nan without predictions.

        Mean over all predictions of the absolute difference between frequency and confidence:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
        """
        if not self.counts.sum():
            return float('nan')
        gaps = np.nan_to_num(np.abs(self.frequency - self.confidence))
        return float(np.average(gaps, weights=self.counts))


def calibration_bins(
    probabilities: np.ndarray, present: np.ndarray, num_bins: int = 15
) -> CalibrationBins:
    """Sort predicted probabilities into bins of equal width.

    Args:
        probabilities: Predicted presences from 0 to 1, of any shape.
        present: Whether each class is present, same shape, bool or 0/1.
        num_bins: Number of bins.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64).ravel()
    present = np.asarray(present, dtype=np.float64).ravel()
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.searchsorted(edges[1:-1], probabilities)
    counts = np.bincount(bins, minlength=num_bins)
    confidence, frequency = (
        np.divide(
            np.bincount(bins, weights=values, minlength=num_bins),
            counts,
            out=np.full(num_bins, np.nan),
            where=counts > 0,
        )
        for values in (probabilities, present)
    )
    return CalibrationBins(edges, counts, confidence, frequency)


def average_precision(probabilities: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return the average precision of each class.

    ``sum_n (R_n - R_{n-1}) P_n`` over the distinct probabilities, without interpolation, as in
    :func:`sklearn.metrics.average_precision_score`, which training should not depend on.

    Args:
        probabilities: ``(N, num_classes)``.
        present: ``(N, num_classes)``, bool.

    Returns:
        ``(num_classes,)`` from 0 to 1, nan for classes without images.
    """
    precisions = np.full(present.shape[1], np.nan)
    for index in np.flatnonzero(present.any(axis=0)):
        order = np.argsort(-probabilities[:, index], kind='stable')
        ranked, hits = probabilities[order, index], present[order, index]
        last_of_ties = np.append(np.diff(ranked) != 0, True)
        found = np.cumsum(hits)[last_of_ties]
        precision = found / (np.flatnonzero(last_of_ties) + 1)
        precisions[index] = np.sum(np.diff(found, prepend=0) * precision) / found[-1]
    return precisions


@METRICS.register_module()
class PresenceMetric(BaseMetric):
    """Evaluates the presence probabilities as a multi-label classification of images.

    The targets of an image are the classes in its ``gt_sem_seg``. Images without labelled pixels
    are excluded, and classes without images are excluded from means over classes.

    The results, all in percent, are logged as

    - ``presence/mAP``: mean of :func:`average_precision` over the classes;
    - ``presence/F1_macro``: mean of F1 over the classes, with a threshold of 0.5;
    - ``presence/F1_micro``: F1 over all pairs of image and class;
    - ``presence/ECE``: expected calibration error over all pairs of image and class, see
      :func:`calibration_bins`.

    AP and F1 of each class are logged as a table.

    Args:
        ignore_index: Label of unlabelled pixels.
        num_bins: Number of bins of the calibration error.
        prefix: Prefix of the names of the results.
        **kwargs: Other arguments of :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        UserError: A prediction has no presence, or its number of classes is not the data set's.
    """

    default_prefix = 'presence'

    def __init__(
        self, ignore_index: int = 255, num_bins: int = 15, prefix: str | None = None, **kwargs
    ) -> None:
        super().__init__(prefix=prefix, **kwargs)
        if num_bins < 1:
            raise UserError(f'num_bins must be positive, got {num_bins}; 15 is common.')
        self.ignore_index = ignore_index
        self.num_bins = num_bins

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store the predicted presence and the classes of each image.

        Args:
            data_batch: Not used.
            data_samples: Samples with ``gt_sem_seg`` and ``presence``.
        """
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            presence = presence_of(sample, num_classes, type(self).__name__)
            labels = sample['gt_sem_seg']['data'].long()
            labels = labels.masked_fill(labels == self.ignore_index, -1)
            present = presence_targets(labels[None], num_classes)[0].bool()
            # Also for unlabelled images: the toolbox counts results to remove images that a sampler
            # repeated.
            self.results.append((presence.float().cpu().numpy(), present.cpu().numpy()))

    def compute_metrics(self, results: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
        """Rank all images and return the metrics listed in the class docstring."""
        probabilities, present = (np.stack(values) for values in zip(*results))
        labelled = present.any(axis=1)
        probabilities, present = probabilities[labelled], present[labelled]

        predicted = probabilities >= PRESENT
        hits = (predicted & present).sum(axis=0)
        sizes = predicted.sum(axis=0) + present.sum(axis=0)
        images = present.sum(axis=0)
        occurs = images > 0
        precision = average_precision(probabilities, present)
        f1 = np.divide(2 * hits, sizes, out=np.full(len(hits), np.nan), where=occurs)

        table = PrettyTable()
        table.add_column('Class', list(self.dataset_meta['classes']))
        table.add_column('Images', images.tolist())
        table.add_column('AP', np.round(100 * precision, 2).tolist())
        table.add_column('F1', np.round(100 * f1, 2).tolist())
        print_log(f'presence of each class:\n{table}', MMLogger.get_current_instance())

        return dict(
            mAP=percentage(precision[occurs].mean() if occurs.any() else np.nan),
            F1_macro=percentage(f1[occurs].mean() if occurs.any() else np.nan),
            F1_micro=percentage(2 * hits.sum() / sizes.sum() if occurs.any() else np.nan),
            ECE=percentage(calibration_bins(probabilities, present, self.num_bins).error),
        )


def presence_of(sample: dict, num_classes: int, metric: str) -> Tensor:
    """Return the presence ``(num_classes,)`` of a predicted sample.

    Raises:
        UserError: The sample has no presence, or one for another number of classes; the message
            names the ``metric``.
    """
    presence = sample.get('presence')
    if presence is None:
        raise UserError(
            f'got predictions without presence, expected one for {metric}: the head has no SE '
            'branch, or the segmentor or the test-time augmentation drops its output; use a '
            'ContextEncoderDecoder with EncodingHead(use_se_loss=True) or a PresenceHead, and '
            'ContextTTAModel for test-time augmentation, or remove the metric.'
        )
    if len(presence) != num_classes:
        raise UserError(
            f'got predictions with the presence of {len(presence)} classes, expected '
            f'{num_classes} as in the data set; set num_classes of the head to {num_classes}.'
        )
    return presence
