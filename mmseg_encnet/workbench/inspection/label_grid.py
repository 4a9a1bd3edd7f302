"""A sheet of images beside their labels, with a legend of the classes that occur."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from mmseg_encnet.visualization.class_colours import colour, is_ignored

# Lengths in inches, of text in points.
_PICTURE = 3.0
_GAP = 0.06
_PAIR_GAP = 0.3
_MARGIN = 0.2
_CAPTION = 0.24
_LEGEND_ROW = 0.23
_SWATCH = 0.34
_CHARACTER = 0.075
_POINT = 1 / 72
_NUMBER_SIZE = 7
_TEXT_SIZE = 9
_DPI = 150

_STRIPES = np.array([[255, 255, 255], [120, 120, 120]], np.uint8)


@dataclass(frozen=True)
class LabelledImage:
    """One pair of the sheet.

    Attributes:
        name: What stands above it, as a rule the name of the image file.
        image: RGB picture ``(H, W, 3)`` uint8.
        label: Class indices ``(h, w)``; what lies outside the classes is ignored.
    """

    name: str
    image: np.ndarray
    label: np.ndarray


def draw_label_grid(
    samples: Sequence[LabelledImage],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    title: str,
    path: Path,
) -> None:
    """Draw every image beside its label, with a legend of the classes that occur, to a file.

    Palettes of many classes have colours that no eye tells apart, so regions and legend carry the
    class index too. Ignored pixels are striped: black, white and grey are colours of classes.

    Args:
        samples: The pairs, one or more.
        classes: Class names by index.
        palette: RGB colours by index.
        title: Line above the pairs.
        path: File to write, in a format that its suffix names.
    """
    columns = min(len(samples), 2)
    rows = [samples[start : start + columns] for start in range(0, len(samples), columns)]
    # A row is as high as its highest picture, up to a portrait of 4 to 5.
    heights = [_PICTURE * min(max(_aspect(sample) for sample in row), 1.25) for row in rows]
    pair = 2 * _PICTURE + _GAP
    width = 2 * _MARGIN + columns * pair + (columns - 1) * _PAIR_GAP
    entries = _present(samples, classes, palette)
    legend = _Legend(entries, width - 2 * _MARGIN)
    height = 2 * _MARGIN + _CAPTION + sum(heights) + len(rows) * (_CAPTION + _GAP)
    height += _GAP + legend.height

    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor='white')

    def place(left: float, top: float, cell_width: float, cell_height: float) -> Axes:
        cell = figure.add_axes(
            (
                left / width,
                1 - (top + cell_height) / height,
                cell_width / width,
                cell_height / height,
            )
        )
        cell.set_axis_off()
        return cell

    figure.text(
        _MARGIN / width, 1 - _MARGIN / height, title, size=_TEXT_SIZE + 1, va='top', weight='bold'
    )
    top = _MARGIN + _CAPTION
    for row, row_height in zip(rows, heights):
        for column, sample in enumerate(row):
            left = _MARGIN + column * (pair + _PAIR_GAP)
            figure.text(
                left / width,
                1 - (top + _CAPTION - 0.04) / height,
                _short(sample.name),
                size=_TEXT_SIZE,
                va='bottom',
            )
            cell = place(left, top + _CAPTION, _PICTURE, row_height)
            cell.imshow(sample.image)
            cell.set_anchor('NW')
            cell = place(left + _PICTURE + _GAP, top + _CAPTION, _PICTURE, row_height)
            _draw_label(cell, sample.label, palette, row_height)
            cell.set_anchor('NW')
        top += _CAPTION + row_height + _GAP
    legend.draw(place(_MARGIN, top + _GAP, width - 2 * _MARGIN, legend.height))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def paint_label(label: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Paint class indices ``(H, W)`` as ``(H, W, 3)`` uint8, ignored pixels striped."""
    painted = colour(label, palette)
    ignored = is_ignored(label, len(palette))
    painted[ignored] = _stripes(label.shape)[ignored]
    return painted


def _stripes(shape: tuple[int, ...]) -> np.ndarray:
    # As wide on paper whatever the size of the label.
    stripe = max(max(shape) // 48, 1)
    diagonal = np.add.outer(np.arange(shape[0]), np.arange(shape[1]))
    return _STRIPES[diagonal // stripe % 2]


def _draw_label(
    cell: Axes, label: np.ndarray, palette: Sequence[Sequence[int]], cell_height: float
) -> None:
    cell.imshow(paint_label(label, palette), interpolation='nearest')
    pixels_per_inch = max(label.shape[0] / cell_height, label.shape[1] / _PICTURE)
    for index in np.unique(label[~is_ignored(label, len(palette))]).tolist():
        # Half the diagonal of the number, with a little air.
        room = _NUMBER_SIZE * _POINT * (0.45 + 0.2 * len(str(index))) * pixels_per_inch
        for x, y in _roomy_places(label == index, room):
            _write_number(cell, x, y, index, palette[index])


def _roomy_places(mask: np.ndarray, room: float) -> Iterator[tuple[int, int]]:
    """Yield the inmost pixel of the two largest regions that a disc of radius ``room`` fits in."""
    # The edge of the picture bounds a region too.
    padded = np.pad(mask, 1).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    largest = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind='stable')[:2]
    for region in largest.tolist():
        inside = np.where(regions == region, distance, 0)
        y, x = np.unravel_index(inside.argmax(), inside.shape)
        if inside[y, x] >= room:
            yield int(x), int(y)


def _write_number(cell: Axes, x: float, y: float, index: int, rgb: Sequence[int]) -> None:
    ink, halo = ('black', 'white') if _is_light(rgb) else ('white', 'black')
    cell.text(
        x,
        y,
        str(index),
        size=_NUMBER_SIZE,
        ha='center',
        va='center_baseline',
        color=ink,
        path_effects=[withStroke(linewidth=0.8, foreground=halo, alpha=0.6)],
    )


def _is_light(rgb: Sequence[int]) -> bool:
    return float(np.dot(rgb, (0.299, 0.587, 0.114))) > 140


def _present(
    samples: Sequence[LabelledImage], classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> list[tuple[int | None, str, Sequence[int]]]:
    """Index, name and colour of the classes that occur; the index of ignored pixels is None."""
    occurring = np.unique(np.concatenate([np.unique(sample.label) for sample in samples]))
    indices = occurring[~is_ignored(occurring, len(classes))].tolist()
    entries: list = [(index, classes[index], palette[index]) for index in indices]
    if len(indices) < len(occurring):
        entries.append((None, 'ignored', ()))
    return entries


class _Legend:
    """The classes in as many columns as fit, read downwards."""

    def __init__(
        self, entries: Sequence[tuple[int | None, str, Sequence[int]]], width: float
    ) -> None:
        self.entries = entries
        self.width = width
        longest = max(len(name) for _, name, _ in entries)
        self.column = _SWATCH + 0.25 + longest * _CHARACTER
        self.rows = -(-len(entries) // max(int(width / self.column), 1))
        self.height = self.rows * _LEGEND_ROW

    def draw(self, cell: Axes) -> None:
        cell.set(xlim=(0, self.width), ylim=(self.height, 0))
        for place, (index, name, rgb) in enumerate(self.entries):
            left = place // self.rows * self.column
            top = place % self.rows * _LEGEND_ROW + 0.03
            bottom = top + _LEGEND_ROW - 0.06
            box = dict(xy=(left, top), width=_SWATCH, height=bottom - top)
            if index is None:
                shape = int((bottom - top) * _DPI), int(_SWATCH * _DPI)
                cell.imshow(
                    np.where(
                        (np.add.outer(*map(np.arange, shape)) // 7 % 2)[..., None], *_STRIPES[::-1]
                    ),
                    extent=(left, left + _SWATCH, bottom, top),
                    interpolation='nearest',
                )
                cell.set(xlim=(0, self.width), ylim=(self.height, 0), aspect='auto')
            else:
                cell.add_patch(Rectangle(**box, facecolor=np.array(rgb) / 255))
                _write_number(cell, left + _SWATCH / 2, (top + bottom) / 2, index, rgb)
            cell.add_patch(Rectangle(**box, fill=False, edgecolor='0.4', linewidth=0.6))
            cell.text(
                left + _SWATCH + 0.08,
                (top + bottom) / 2,
                name,
                size=_TEXT_SIZE,
                va='center_baseline',
            )


def _aspect(sample: LabelledImage) -> float:
    return max(picture.shape[0] / picture.shape[1] for picture in (sample.image, sample.label))


def _short(name: str, longest: int = 70) -> str:
    if len(name) <= longest:
        return name
    half = (longest - 3) // 2
    return f'{name[:half]}...{name[-half:]}'
