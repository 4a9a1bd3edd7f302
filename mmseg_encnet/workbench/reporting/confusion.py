"""Confusion matrices and the metrics derived from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class ConfusedPair:
    """Pixels of one class that were predicted as another.

    Attributes:
        truth: Index of the true class.
        prediction: Index of the predicted class.
        of_truth: Share of the true class's pixels, 0 to 1.
        of_errors: Share of all wrong pixels, 0 to 1.
    """

    truth: int
    prediction: int
    of_truth: float
    of_errors: float


def count_pixels(truth: Tensor, prediction: Tensor, num_classes: int) -> np.ndarray:
    """Return the pixels by class and prediction, ``(C, C)`` int64, with ground truth in rows.

    Truth and prediction are class indices of one shape; truth outside the classes is ignored.
    """
    inside = (truth >= 0) & (truth < num_classes)
    cells = truth[inside].long() * num_classes + prediction.to(truth.device)[inside].long()
    counts = cells.bincount(minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).cpu().numpy()


def areas_of_classes(counts: np.ndarray) -> np.ndarray:
    """Return intersection, predicted and true pixels of each class, ``(3, C)``."""
    return np.stack([counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)])


def class_iou(counts: np.ndarray) -> np.ndarray:
    """Return the IoU of each class ``(C,)``, 0 to 1; NaN for a class without pixels."""
    right = np.diag(counts).astype(float)
    return _ratio(right, counts.sum(axis=0) + counts.sum(axis=1) - right)


def class_accuracy(counts: np.ndarray) -> np.ndarray:
    """Return the recall of each class ``(C,)``, 0 to 1; NaN without true pixels."""
    return _ratio(np.diag(counts), counts.sum(axis=1))


def most_confused(counts: np.ndarray, number: int) -> list[ConfusedPair]:
    """Return the pairs of classes with the most wrong pixels, largest first."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    leading = np.argsort(-wrong, axis=None, kind='stable')[:number]
    cells = [map(int, np.unravel_index(cell, wrong.shape)) for cell in leading if wrong.flat[cell]]
    return [pair(counts, *cell) for cell in cells]


def pair(counts: np.ndarray, truth: int, prediction: int) -> ConfusedPair:
    """Return the shares of one pair of classes, 0 where the denominator is 0."""
    wrong = int(counts[truth, prediction])
    errors = counts.sum() - np.trace(counts)
    return ConfusedPair(
        truth, prediction, wrong / max(int(counts[truth].sum()), 1), wrong / max(int(errors), 1)
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
