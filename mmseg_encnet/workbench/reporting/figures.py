"""The figures of the report, each embedded in the page with a text alternative."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmseg_encnet.evaluation.metrics.presence_metric import CalibrationBins
from mmseg_encnet.visualization import style
from mmseg_encnet.workbench.reporting.run_record import Curve

DASHES = ('-', '--', '-.', ':')
# The numbers in the cells of a larger matrix would not be legible.
_MAX_NUMBERED_CLASSES = 24


@dataclass(frozen=True)
class Picture:
    """A figure embedded in the page.

    Attributes:
        source: Its ``data:`` URL.
        alt: Text alternative.
        width: Width in CSS pixels.
        height: Height in CSS pixels.
        caption: Caption above it.
        scrolls: Whether it keeps its size in a scrolling frame, because it is illegible when
            scaled down.
    """

    source: str
    alt: str
    width: int
    height: int
    caption: str = ''
    scrolls: bool = False


@dataclass(frozen=True)
class Style:
    """Label, colour and dashes of a run in every figure."""

    label: str
    colour: str
    dashes: str

    @property
    def look(self) -> dict[str, str]:
        """Arguments of matplotlib's ``plot``."""
        return dict(color=self.colour, linestyle=self.dashes, label=self.label)


def run_style(index: int, label: str) -> Style:
    """Return the style of the run at an index."""
    return Style(
        label, style.LINE_COLOURS[index % len(style.LINE_COLOURS)], DASHES[index % len(DASHES)]
    )


def draw_curves(title: str, curves: Sequence[tuple[Style, Curve]]) -> Picture:
    """Draw one logged quantity of several runs over the iterations."""
    figure = style.new_figure(4.6, 2.9)
    axes = figure.subplots()
    endings = []
    for run, curve in curves:
        # Non-finite values are gaps.
        values = np.where(np.isfinite(curve.values), curve.values, np.nan)
        marker = 'o' if len(curve.steps) <= 25 else None
        axes.plot(curve.steps, values, marker=marker, markersize=3, linewidth=1.6, **run.look)
        endings.append(f'{run.label} ends at {curve.values[-1]:.4g}')
    axes.set_xlabel('iteration')
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(left=0)
    if np.isfinite(axes.dataLim.ymax) and axes.dataLim.ymin >= 0:
        axes.set_ylim(0, 1.05 * axes.dataLim.ymax or 1)
    if len(curves) > 1:
        style.legend(axes)
    style.format_axes(axes, grid='both')
    style.add_title(figure, title)
    return _embedded(figure, f'{title} over iterations: {"; ".join(endings)}.')


def draw_confusion(label: str, counts: np.ndarray, classes: Sequence[str]) -> Picture:
    """Draw a confusion matrix, normalised by true class, with the label of the run above."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    numbered = len(classes) <= _MAX_NUMBERED_CLASSES
    # Inches.
    cell = 0.3 if numbered else 0.16
    side = max(cell * len(classes), 2.2)
    margin = max(map(style.text_width, classes)) + 0.45
    # A large matrix has its columns named above too, and a colour bar instead of numbers.
    figure = style.new_figure(
        side + margin + 0.8 * (not numbered), side + margin * (1 if numbered else 2)
    )
    axes = figure.subplots()
    colours = matplotlib.colormaps[style.SHARES].with_extremes(bad=style.PALE)
    image = axes.imshow(shares, vmin=0, vmax=1, cmap=colours)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=90)
    axes.set_yticks(ticks, classes)
    axes.set_xlabel('predicted')
    axes.set_ylabel('true')
    style.format_axes(axes)
    axes.tick_params(length=0, labeltop=not numbered)
    axes.tick_params('x', labelrotation=90)
    axes.spines[:].set_visible(False)
    if numbered:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                ink = 'white' if share > 0.55 else 'black'
                style.centred_text(axes, column, row, f'{100 * share:.0f}', color=ink)
    else:
        shrink = min(1, 2.6 / side)
        style.share_bar(axes, image, 'share of the true class', shrink=shrink, pad=0.02)
    recognised = np.diag(shares)
    best, worst = (classes[int(choose(recognised))] for choose in (np.nanargmax, np.nanargmin))
    return _embedded(
        figure,
        f'Confusion matrix of {label}: share of each true class (rows) by predicted class '
        f'(columns). Highest recall: {best}; lowest: {worst}.',
        label,
        not numbered,
    )


def draw_calibration(runs: Sequence[tuple[Style, CalibrationBins]]) -> Picture:
    """Draw a reliability diagram: observed frequency over predicted probability of presence."""
    figure = style.new_figure(5, 4.9)
    axes, below = figure.subplots(2, height_ratios=[4, 1], sharex=True)
    axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1, label='perfect calibration')
    width = 0.8 / len(runs)
    for place, (run, bins) in enumerate(runs):
        filled = bins.counts > 0
        found = bins.confidence[filled], bins.frequency[filled]
        axes.plot(*found, marker='o', markersize=4, **run.look)
        steps = np.diff(bins.edges)
        below.bar(
            bins.edges[:-1] + (0.1 + place * width) * steps,
            bins.counts,
            width=width * steps,
            align='edge',
            color=run.colour,
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel='observed frequency')
    style.legend(axes, loc='upper left')
    below.set(xlabel='predicted probability of presence', ylabel='count', yscale='log')
    below.set_ylim(bottom=0.5)
    for each in (axes, below):
        style.format_axes(each, grid='both')
    return _embedded(
        figure,
        'Reliability diagram: observed frequency of presence over the predicted probability, with '
        f'the number of predictions per bin, for {", ".join(run.label for run, _ in runs)}.',
    )


def png_picture(content: bytes, alt: str, caption: str = '') -> Picture:
    """Return a PNG as a figure of the page."""
    width, height = (int.from_bytes(content[at : at + 4], 'big') for at in (16, 20))
    address = f'data:image/png;base64,{base64.b64encode(content).decode()}'
    return Picture(address, alt, width, height, caption)


def _embedded(figure: Figure, alt: str, caption: str = '', scrolls: bool = False) -> Picture:
    width, height = (math.ceil(96 * inches) for inches in figure.get_size_inches())
    address = f'data:image/svg+xml;base64,{base64.b64encode(style.svg(figure)).decode()}'
    return Picture(address, alt, width, height, caption, scrolls)
