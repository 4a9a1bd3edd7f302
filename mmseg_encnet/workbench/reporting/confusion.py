"""What a confusion matrix says, as pure functions of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class ConfusedPair:
    """Pixels of one class that were given another.

    Attributes:
        truth: Index of the class that they are.
        prediction: Index of the class that they were given.
        of_truth: Their share among the pixels of the true class, 0 to 1.
        of_errors: Their share among all wrong pixels, 0 to 1.
    """

    truth: int
    prediction: int
    of_truth: float
    of_errors: float


def count_pixels(truth: Tensor, prediction: Tensor, num_classes: int) -> np.ndarray:
    """Count pixels by class and prediction.

    Args:
        truth: Class indices of any shape; values outside the classes are not counted.
        prediction: Class indices of the same shape.
        num_classes: Number of classes C.

    Returns:
        ``(C, C)`` int64, truth in rows, prediction in columns.
    """
    inside = (truth >= 0) & (truth < num_classes)
    cells = truth[inside].long() * num_classes + prediction.to(truth.device)[inside].long()
    counts = cells.bincount(minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).cpu().numpy()


def class_iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union of each class ``(C,)``, 0 to 1; nan where neither has a pixel."""
    right = np.diag(counts).astype(float)
    return _ratio(right, counts.sum(axis=0) + counts.sum(axis=1) - right)


def class_accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of each class's pixels that were recognised ``(C,)``, 0 to 1; nan without pixels."""
    return _ratio(np.diag(counts), counts.sum(axis=1))


def most_confused(counts: np.ndarray, number: int) -> list[ConfusedPair]:
    """The pairs of classes with the most wrong pixels, largest first."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    leading = np.argsort(-wrong, axis=None, kind='stable')[:number]
    cells = [map(int, np.unravel_index(cell, wrong.shape)) for cell in leading if wrong.flat[cell]]
    return [pair(counts, *cell) for cell in cells]


def pair(counts: np.ndarray, truth: int, prediction: int) -> ConfusedPair:
    """One pair of classes; a share of nothing is 0."""
    wrong = int(counts[truth, prediction])
    errors = counts.sum() - np.trace(counts)
    return ConfusedPair(
        truth, prediction, wrong / max(int(counts[truth].sum()), 1), wrong / max(int(errors), 1)
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
