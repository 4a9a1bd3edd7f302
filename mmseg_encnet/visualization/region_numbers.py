"""Numbers on the regions of a label map."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from mmseg_encnet.visualization import style
from mmseg_encnet.visualization.class_colours import is_ignored

# Pixels of the longer side that suffice to place a number.
RESOLUTION = 400


def number_regions(axes: Axes, labels: np.ndarray, colours: np.ndarray) -> None:
    """Write the index on the two largest regions of each label, where it fits.

    Args:
        axes: Axes that show the label map.
        labels: Indices ``(H, W)``; values outside the colours are ignored.
        colours: RGB colours ``(n, 3)`` of the map, which decide between black and white text.
    """
    step = max(1, max(labels.shape) // RESOLUTION)
    labels = labels[::step, ::step]
    for index in np.unique(labels[~is_ignored(labels, len(colours))]).tolist():
        # For maps from two inches of width on.
        room = (0.01 + 0.006 * len(str(index))) * sum(labels.shape)
        light = np.dot(colours[index], (0.299, 0.587, 0.114)) > 140
        ink, halo = ('black', 'white') if light else ('white', 'black')
        for x, y in _roomy_places(labels == index, room):
            stroke = withStroke(linewidth=1, foreground=halo, alpha=0.6)
            style.centred_text(
                axes, x * step, y * step, str(index), color=ink, path_effects=[stroke]
            )


def _roomy_places(mask: np.ndarray, room: float) -> Iterator[tuple[int, int]]:
    """Yield the innermost pixel of the two largest regions that hold a disc of radius ``room``."""
    # Padded, because the edge of the image also bounds a region.
    padded = np.pad(mask, 1).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    largest = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind='stable')[:2]
    for region in largest.tolist():
        inside = np.where(regions == region, distance, 0)
        y, x = np.unravel_index(inside.argmax(), inside.shape)
        if inside[y, x] >= room:
            yield int(x), int(y)
