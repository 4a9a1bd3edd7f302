"""Images beside their labels, with a legend of the classes that occur."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import FigureBase
from matplotlib.patches import Patch
from tqdm import tqdm

from mmseg_encnet.disk import check_file, check_folder
from mmseg_encnet.errors import UserError
from mmseg_encnet.visualization import style
from mmseg_encnet.visualization.class_colours import colour, is_ignored
from mmseg_encnet.visualization.region_numbers import number_regions
from mmseg_encnet.workbench.inspection.split import DrawnSamples, LabelledImage, title_of

# Inches.
IMAGE_WIDTH, CAPTION, TITLE = 3.0, 0.28, 0.3

STRIPES = np.array([[255, 255, 255], [120, 120, 120]], np.uint8)


def draw_samples(samples: DrawnSamples, out: Path) -> None:
    """Draw samples, with a progress bar, to a ``.png`` file or to one file each in a folder.

    Raises:
        UserError: ``out`` is neither, or cannot be written.
    """
    one_figure = out.suffix.lower() == '.png'
    if out.suffix and not one_figure and not out.is_dir():
        raise UserError(f'got --out {out}, expected a folder or a file that ends in .png.')
    (check_file if one_figure else check_folder)(out)
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
    The suffix of the path selects the format.
    """
    columns = min(len(samples), 2)
    rows = [samples[start : start + columns] for start in range(0, len(samples), columns)]
    # A row is as high as its highest image, up to a portrait of 4 to 5.
    heights = [
        CAPTION + IMAGE_WIDTH * min(max(_aspect(sample) for sample in row), 1.25) for row in rows
    ]
    width = 2 * IMAGE_WIDTH * columns
    entries = _legend_entries(samples, classes, palette)
    heights.append(style.legend_height(entries, width))
    figure = style.new_figure(width, TITLE + sum(heights))
    style.add_title(figure, style.shortened(title, width, style.NORMAL))
    *places, legend = figure.subfigures(len(heights), 1, height_ratios=heights)
    for row, place in zip(rows, places):
        for sample, pair in zip(row, place.subfigures(1, columns, squeeze=False)[0]):
            _draw_pair(pair, sample, palette)
    style.add_legend(legend, entries)
    style.write_figure(figure, path)


def paint_label(label: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Return class indices ``(H, W)`` as colours ``(H, W, 3)`` uint8, ignored pixels striped."""
    painted = colour(label, palette)
    ignored = is_ignored(label, len(palette))
    # Equally wide in the figure for any size of the label.
    stripe = max(max(label.shape) // 48, 2)
    diagonal = np.add.outer(*map(np.arange, label.shape)) // stripe % 2
    painted[ignored] = STRIPES[diagonal[ignored]]
    return painted


def _draw_pair(figure: FigureBase, sample: LabelledImage, palette: Sequence[Sequence[int]]) -> None:
    left, right = figure.subplots(1, 2)
    style.show_image(left, sample.image)
    name = style.shortened(sample.name, 1.9 * IMAGE_WIDTH)
    style.add_title(figure, name, fontsize=style.SMALL, fontweight='normal')
    label = sample.label
    style.show_image(right, paint_label(label, palette))
    number_regions(right, label, np.asarray(palette))


def _legend_entries(
    samples: Sequence[LabelledImage], classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> list[Patch]:
    occurring = np.unique(np.concatenate([np.unique(sample.label) for sample in samples]))
    indices = occurring[~is_ignored(occurring, len(classes))].tolist()
    entries = [style.swatch(palette[index], f'{index}  {classes[index]}') for index in indices]
    if len(indices) < len(occurring):
        entries.append(style.swatch((255, 255, 255), 'ignored', hatch='/////'))
    return entries


def _aspect(sample: LabelledImage) -> float:
    return max(picture.shape[0] / picture.shape[1] for picture in (sample.image, sample.label))
