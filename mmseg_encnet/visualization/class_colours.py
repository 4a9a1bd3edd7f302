"""Class indices as colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

IGNORED = (0, 0, 0)


def colour(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Return class indices ``(H, W)`` as RGB ``(H, W, 3)`` uint8, ignored pixels in black."""
    painted = np.full((*labels.shape, 3), IGNORED, dtype=np.uint8)
    inside = ~is_ignored(labels, len(palette))
    painted[inside] = np.asarray(palette, dtype=np.uint8)[labels[inside]]
    return painted


def is_ignored(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return which pixels ``(H, W)`` have no class."""
    return (labels < 0) | (labels >= num_classes)
