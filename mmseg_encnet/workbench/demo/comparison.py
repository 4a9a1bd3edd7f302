"""Predictions of several models beside the image and its ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmseg_encnet.visualization import style
from mmseg_encnet.visualization.class_colours import IGNORED, colour, is_ignored

# Inches.
IMAGE_WIDTH, TITLE = 3.2, 0.2


@dataclass(frozen=True)
class ComparedImage:
    """One row of the figure.

    Attributes:
        image: RGB image ``(H, W, 3)`` uint8.
        truth: Class indices ``(H, W)``; values outside the classes are ignored and drawn black.
        predictions: Class indices ``(H, W)`` by model name.
    """

    image: np.ndarray
    truth: np.ndarray
    predictions: Mapping[str, np.ndarray]


def draw_comparison(
    rows: Sequence[ComparedImage],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    path: Path,
) -> None:
    """Draw each image, its ground truth and the prediction of every model, with a legend.
    All images have predictions of the same models. The suffix of the path selects the format.
    """
    models = list(rows[0].predictions)
    titles = ['Image', 'Ground truth', *models]
    entries = [style.swatch(rgb, name) for name, rgb in zip(classes, palette)]
    if any(is_ignored(row.truth, len(classes)).any() for row in rows):
        entries.append(style.swatch(IGNORED, 'ignored'))
    width = IMAGE_WIDTH * len(titles)
    # A row is as high as its image, up to a portrait of 4 to 5.
    heights = [IMAGE_WIDTH * min(row.truth.shape[0] / row.truth.shape[1], 1.25) for row in rows]
    parts = [sum(heights) + TITLE, style.legend_height(entries, width)]
    figure = style.new_figure(width, sum(parts))
    images, legend = figure.subfigures(2, 1, height_ratios=parts)
    axes = images.subplots(len(rows), len(titles), squeeze=False, height_ratios=heights)
    for row, cells in zip(rows, axes):
        pictures = [row.image, colour(row.truth, palette)]
        for model in models:
            painted = colour(row.predictions[model], palette)
            painted[is_ignored(row.truth, len(classes))] = IGNORED
            pictures.append(painted)
        for cell, picture in zip(cells, pictures):
            style.show_image(cell, picture)
    for cell, title in zip(axes[0], titles):
        cell.set_title(title, fontsize=style.NORMAL, loc='left')
    style.add_legend(legend, entries)
    style.write_figure(figure, path)
