"""Images beside their labels, with a legend of the classes that occur."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from tqdm import tqdm

from mmseg_encnet.errors import UserError
from mmseg_encnet.visualization.class_colours import colour, is_ignored
from mmseg_encnet.visualization.style import (
    MUTED,
    NORMAL,
    SMALL,
    add_legend,
    add_title,
    is_light,
    legend_height,
    new_figure,
    shortened,
    show_image,
    swatch,
    write_figure,
)
from mmseg_encnet.workbench.inspection.split import DrawnSamples, LabelledImage, title_of

# Inches.
IMAGE_WIDTH, CAPTION, TITLE = 3.0, 0.28, 0.3

STRIPES = np.array([[255, 255, 255], [120, 120, 120]], np.uint8)


def draw_samples(samples: DrawnSamples, out: Path) -> None:
    """Draw samples with a progress bar.

    Args:
        samples: The samples.
        out: A ``.png`` file for one figure, or a folder for one figure per sample.

    Raises:
        UserError: ``out`` is neither.
    """
    one_figure = out.suffix.lower() == '.png'
    if out.suffix and not one_figure and not out.is_dir():
        raise UserError(f'got --out {out}, expected a file that ends in .png or a folder.')
    title = f'{title_of(samples)}, after the pipeline'
    drawn = tqdm(samples, unit='image')
    if one_figure:
        draw_label_grid(list(drawn), samples.classes, samples.palette, title, out)
        return
    for number, sample in enumerate(drawn):
        path = out / f'{number:04d}_{Path(sample.name).stem}.png'
        draw_label_grid([sample], samples.classes, samples.palette, title, path)


def draw_label_grid(
    samples: Sequence[LabelledImage],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    title: str,
    path: Path,
) -> None:
    """Draw every image beside its label, with a legend of the classes that occur.

    Palettes of many classes have colours that look alike, so regions and legend show the class
    index too. Ignored pixels are striped, because black, white and grey can be class colours.

    Args:
        samples: The images, one or more.
        classes: Class names by index.
        palette: RGB colours by index.
        title: Title of the figure.
        path: File to write; its suffix selects the format.
    """
    columns = min(len(samples), 2)
    rows = [samples[start : start + columns] for start in range(0, len(samples), columns)]
    # A row is as high as its highest image, up to a portrait of 4 to 5.
    heights = [
        CAPTION + IMAGE_WIDTH * min(max(_aspect(sample) for sample in row), 1.25) for row in rows
    ]
    width = 2 * IMAGE_WIDTH * columns
    entries = _legend_entries(samples, classes, palette)
    heights.append(legend_height(entries, width))
    figure = new_figure(width, TITLE + sum(heights))
    add_title(figure, shortened(title, width, NORMAL))
    *places, legend = figure.subfigures(len(heights), 1, height_ratios=heights)
    for row, place in zip(rows, places):
        for sample, pair in zip(row, place.subfigures(1, columns, squeeze=False)[0]):
            _draw_pair(pair, sample, palette)
    add_legend(legend, entries)
    write_figure(figure, path)


def paint_label(label: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Return class indices ``(H, W)`` as colours ``(H, W, 3)`` uint8, ignored pixels striped."""
    painted = colour(label, palette)
    ignored = is_ignored(label, len(palette))
    # Equally wide in the figure whatever the size of the label.
    stripe = max(max(label.shape) // 48, 2)
    diagonal = np.add.outer(*map(np.arange, label.shape)) // stripe % 2
    painted[ignored] = STRIPES[diagonal[ignored]]
    return painted


def _draw_pair(figure: FigureBase, sample: LabelledImage, palette: Sequence[Sequence[int]]) -> None:
    left, right = figure.subplots(1, 2)
    show_image(left, sample.image)
    name = shortened(sample.name, 1.9 * IMAGE_WIDTH)
    add_title(figure, name, fontsize=SMALL, fontweight='normal')
    label = sample.label
    show_image(right, paint_label(label, palette))
    # Half the diagonal of a digit, in pixels of the label.
    digit = 0.6 * SMALL / 72 * max(label.shape[1], label.shape[0] / 1.25) / IMAGE_WIDTH
    for index in np.unique(label[~is_ignored(label, len(palette))]).tolist():
        for x, y in _roomy_places(label == index, digit * (0.6 + 0.3 * len(str(index)))):
            _write_number(right, x, y, index, palette[index])


def _roomy_places(mask: np.ndarray, room: float) -> Iterator[tuple[int, int]]:
    """Yield the innermost pixel of the two largest regions that hold a disc of radius ``room``."""
    # The edge of the image also bounds a region.
    padded = np.pad(mask, 1).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    largest = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind='stable')[:2]
    for region in largest.tolist():
        inside = np.where(regions == region, distance, 0)
        y, x = np.unravel_index(inside.argmax(), inside.shape)
        if inside[y, x] >= room:
            yield int(x), int(y)


def _write_number(axes: Axes, x: float, y: float, index: int, rgb: Sequence[int]) -> None:
    ink, halo = ('black', 'white') if is_light(rgb) else ('white', 'black')
    axes.text(
        x,
        y,
        str(index),
        fontsize=SMALL,
        ha='center',
        va='center_baseline',
        color=ink,
        path_effects=[withStroke(linewidth=0.8, foreground=halo, alpha=0.6)],
    )


def _legend_entries(
    samples: Sequence[LabelledImage], classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> list[Patch]:
    occurring = np.unique(np.concatenate([np.unique(sample.label) for sample in samples]))
    indices = occurring[~is_ignored(occurring, len(classes))].tolist()
    entries = [swatch(palette[index], f'{index}  {classes[index]}') for index in indices]
    if len(indices) < len(occurring):
        entries.append(
            Patch(facecolor='white', edgecolor=MUTED, hatch='/////', linewidth=0.6, label='ignored')
        )
    return entries


def _aspect(sample: LabelledImage) -> float:
    return max(picture.shape[0] / picture.shape[1] for picture in (sample.image, sample.label))
