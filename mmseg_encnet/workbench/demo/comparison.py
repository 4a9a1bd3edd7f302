"""A sheet that puts the predictions of several models beside photograph and truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmseg_encnet.visualization.class_colours import IGNORED, colour, is_ignored


@dataclass(frozen=True)
class ComparedImage:
    """One row of the sheet.

    Attributes:
        image: RGB photograph ``(H, W, 3)`` uint8.
        truth: Class indices ``(H, W)``; what lies outside the classes is ignored, drawn black.
        predictions: Class indices ``(H, W)`` by name of the model.
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
    """Draw image, truth and every model's prediction side by side, with a legend, to a file.

    Args:
        rows: The images; all with predictions of the same models.
        classes: Class names by index.
        palette: RGB colours by index.
        path: File to write, in a format that its suffix names.
    """
    models = list(rows[0].predictions)
    titles = ['image', 'truth', *models]
    entries = [(name, np.array(rgb) / 255) for name, rgb in zip(classes, palette)]
    if any(is_ignored(row.truth, len(classes)).any() for row in rows):
        entries.append(('ignored', np.array(IGNORED) / 255))
    # Inches. A row is as high as its picture, up to a portrait of 4 to 5.
    width = 3.2
    heights = [width * min(row.truth.shape[0] / row.truth.shape[1], 1.25) for row in rows]
    legend_height = 0.25 * -(-len(entries) // 6) + 0.35
    size = (width * len(titles), sum(heights) + legend_height + 0.3)
    figure = Figure(figsize=size, dpi=120, layout='constrained')
    axes = figure.subplots(
        len(rows), len(titles), squeeze=False, gridspec_kw=dict(height_ratios=heights)
    )
    for row, cells in zip(rows, axes):
        pictures = [row.image, colour(row.truth, palette)]
        for model in models:
            painted = colour(row.predictions[model], palette)
            painted[is_ignored(row.truth, len(classes))] = IGNORED
            pictures.append(painted)
        for cell, picture in zip(cells, pictures):
            cell.imshow(picture, interpolation='nearest')
            cell.set_axis_off()
    for cell, title in zip(axes[0], titles):
        cell.set_title(title)
    figure.legend(
        handles=[Patch(facecolor=rgb, edgecolor='0.4', label=name) for name, rgb in entries],
        loc='outside lower center',
        ncols=min(len(entries), 6),
        frameon=False,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
