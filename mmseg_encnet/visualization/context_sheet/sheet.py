"""The arrangement of a context sheet: rows of subfigures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
from matplotlib.figure import Figure, FigureBase

from mmseg_encnet.visualization import style
from mmseg_encnet.visualization.context_sheet.parts import Part, legend_entries, sheet_parts
from mmseg_encnet.visualization.context_sheet.prediction import ContextPrediction

# Inches.
WIDTH, TITLE, NOTE = 12.6, 0.3, 0.25
PRESENCE_HEIGHT, CHART_HEIGHT = 2.1, 1.3


def draw_sheet(context: ContextPrediction, title: str = '') -> Figure:
    """Draw everything that a prediction holds.

    Args:
        context: The prediction.
        title: Title of the sheet, such as the name of the image.

    Returns:
        A figure to save, or to pass to :func:`mmseg_encnet.visualization.style.pixels`. It is not
        registered with pyplot.
    """
    parts = sheet_parts(context)
    ratio = context.image.shape[0] / context.image.shape[1]
    tiled = _arrange(list(parts), ratio)
    width = max(WIDTH * len(names) / columns for names, columns in tiled)
    heights, rows = [], []
    for names, columns in tiled:
        tiles = [parts[name] for name in names]
        size = WIDTH / columns
        maps = (size - 2 * style.PAD) * ratio
        # A chart beside a narrow panorama is higher than the panorama.
        chart = 0 if all(tile.is_map for tile in tiles) else CHART_HEIGHT
        heights.append(TITLE + max(maps, chart))
        rows.append(partial(_draw_tiles, parts=tiles, columns=round(width / size)))
    entries = legend_entries(context)
    below = 1 + max(index for index, (names, _) in enumerate(tiled) if 'prediction' in names)
    heights.insert(below, style.legend_height(entries, width))
    rows.insert(below, partial(style.add_legend, entries=entries))
    if 'presence' in parts:
        heights.append(PRESENCE_HEIGHT)
        rows.append(partial(_draw_tiles, parts=[parts['presence']], columns=1))
    notes = [line for line in (_note(parts), context.seams) if line]
    note = '\n'.join(notes)
    figure = style.new_figure(width, sum(heights) + TITLE * bool(title) + NOTE * len(notes))
    style.add_title(figure, title, note)
    for place, draw in zip(figure.subfigures(len(rows), 1, height_ratios=heights), rows):
        draw(place)
    return figure


def draw_sample(
    image: np.ndarray, data_sample: Any, dataset_meta: Mapping[str, Any], title: str
) -> Figure:
    """Draw the sheet of a ``SegDataSample`` of an RGB image ``(H, W, 3)`` uint8."""
    classes, palette = dataset_meta['classes'], dataset_meta['palette']
    context = ContextPrediction.from_data_sample(image, data_sample, classes, palette)
    return draw_sheet(context, title)


def _arrange(names: Sequence[str], ratio: float) -> list[tuple[list[str], int]]:
    """Arrange the parts of an image, whose height over width is the ratio, into rows.

    Each row has its number of columns.
    """
    labels = [name for name in names if name in ('image', 'truth', 'prediction', 'errors')]
    codes = [name for name in names if name.startswith('codeword')]
    strong = [name for name in names if name.startswith('strong')]
    weak = [name for name in names if name.startswith('weak')]
    if ratio > 1.05:
        rows = [(labels + codes, 6), (strong + weak, 6)]
    elif ratio < 0.4:
        rows = [(labels[i : i + 2], 2) for i in range(0, len(labels), 2)]
        rows += [(codes, 2), (strong, 3), (weak, 3)]
    elif len(labels) == 4 and codes and len(strong) == 3:
        rows = [(labels, 4), (codes[:1] + strong, 4), (codes[1:] + weak, 4)]
    elif len(labels + codes) > 4:
        rows = [(labels, 4), (codes, 4), (strong + weak, 6)]
    else:
        rows = [(labels + codes, 4), (strong + weak, 6)]
    return [(row, columns) for row, columns in rows if row]


def _draw_tiles(figure: FigureBase, parts: Sequence[Part], columns: int) -> None:
    grid = figure.add_gridspec(1, columns)
    if all(part.is_map for part in parts):
        tiles = [figure.add_subplot(cell) for cell in grid]
    else:
        # In subfigures, so that the tick labels of a chart do not narrow the maps beside it.
        tiles = [figure.add_subfigure(cell).subplots() for cell in grid]
    for axes, part in zip_longest(tiles, parts):
        if part is None:
            axes.set_axis_off()
            continue
        part.draw(axes)
        axes.set_title(
            part.title, fontsize=style.NORMAL if columns <= 4 else style.SMALL, loc='left'
        )


def _note(parts: Mapping[str, Part]) -> str:
    sentences = []
    if 'errors' in parts:
        sentences.append('Errors: share of the labelled pixels.')
    if 'codeword_shares' in parts:
        sentences.append('Codeword shares: mean soft assignment of the pixels.')
    if 'strong_1' in parts:
        sentences.append(
            'Channels: features before the gate, strongest gates first, each from minimum (dark) '
            'to maximum (bright).'
        )
    return ' '.join(sentences)
