"""The drawings of the report, each a picture inside the page with its text for those who do not
see it."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmseg_encnet.evaluation.metrics.presence_metric import CalibrationBins
from mmseg_encnet.workbench.reporting.run_record import Curve

# Okabe and Ito's colours, which remain apart for colour-blind eyes, without the yellow that white
# paper swallows. Lines differ in their dashes too.
RUN_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
DASHES = ('-', '--', '-.', ':')
_STYLE = {
    'svg.hashsalt': 'report',
    'font.size': 9,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': '0.9',
    'axes.edgecolor': '0.4',
    'legend.frameon': False,
}
# With more classes the numbers in the cells could not be read.
_MOST_NUMBERED_CLASSES = 24


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes:
        source: Its ``data:`` address.
        alt: What it shows, in words.
        width: In CSS pixels.
        height: In CSS pixels.
        caption: What stands above it.
        scrolls: Whether it keeps its size in a frame that scrolls, as it could not be read smaller.
    """

    source: str
    alt: str
    width: int
    height: int
    caption: str = ''
    scrolls: bool = False


@dataclass(frozen=True)
class Style:
    """How a run looks in every drawing: its letter and name, its colour, its dashes."""

    label: str
    colour: str
    dashes: str


def run_style(index: int, label: str) -> Style:
    """The look of the run at a place in the list."""
    return Style(label, RUN_COLOURS[index % len(RUN_COLOURS)], DASHES[index % len(DASHES)])


def draw_curves(title: str, curves: Sequence[tuple[Style, Curve]]) -> Picture:
    """One logged quantity of several runs over the iterations."""
    figure = Figure(figsize=(4.6, 2.9), layout='constrained')
    with matplotlib.rc_context(_STYLE):
        axes = figure.subplots()
        endings = []
        for style, curve in curves:
            few = len(curve.steps) <= 25
            # What is not finite is a gap.
            values = np.where(np.isfinite(curve.values), curve.values, np.nan)
            axes.plot(
                curve.steps,
                values,
                color=style.colour,
                linestyle=style.dashes,
                linewidth=1.6,
                marker='o' if few else None,
                markersize=3,
                label=style.label,
            )
            endings.append(f'{style.label} ends at {curve.values[-1]:.4g}')
        axes.set_title(title, loc='left', fontsize=10, fontweight='bold')
        axes.set_xlabel('iteration')
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlim(left=0)
        if np.isfinite(axes.dataLim.ymax) and axes.dataLim.ymin >= 0:
            axes.set_ylim(0, 1.05 * axes.dataLim.ymax or 1)
        if len(curves) > 1:
            axes.legend(fontsize=8)
        return _svg(figure, f'{title} against iterations: {"; ".join(endings)}.')


def draw_confusion(label: str, counts: np.ndarray, classes: Sequence[str]) -> Picture:
    """A confusion matrix as shares of each true class, with the run's label above."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    numbered = len(classes) <= _MOST_NUMBERED_CLASSES
    # Inches of a cell and of a letter in the names.
    cell, letter = (0.26, 0.085) if numbered else (0.15, 0.06)
    side = max(cell * len(classes), 2.2)
    margin = letter * max(map(len, classes)) + 0.4
    # A large one has its columns named above too, and a scale instead of numbers.
    size = (side + margin, side + margin) if numbered else (side + margin + 0.7, side + 2 * margin)
    figure = Figure(figsize=size, layout='constrained')
    with matplotlib.rc_context({**_STYLE, 'axes.grid': False}):
        axes = figure.subplots()
        colours = matplotlib.colormaps['Blues'].with_extremes(bad='0.93')
        image = axes.imshow(shares * 100, vmin=0, vmax=100, cmap=colours)
        font = 8 if numbered else 6
        ticks = range(len(classes))
        axes.set_xticks(ticks, classes, rotation=90, fontsize=font)
        axes.set_yticks(ticks, classes, fontsize=font)
        axes.tick_params(length=0, labeltop=not numbered)
        axes.tick_params('x', labelrotation=90)
        axes.spines[:].set_visible(False)
        axes.set_xlabel('predicted')
        axes.set_ylabel('true')
        if numbered:
            for (row, column), share in np.ndenumerate(shares):
                if share >= 0.005:
                    axes.text(
                        column,
                        row,
                        f'{100 * share:.0f}',
                        ha='center',
                        va='center',
                        fontsize=7,
                        color='white' if share > 0.55 else '0.15',
                    )
        else:
            bar = figure.colorbar(image, ax=axes, shrink=min(1, 2.6 / side), pad=0.02)
            bar.outline.set_visible(False)
            bar.set_label('% of the true class')
        recognised = np.diag(shares)
        best, worst = (classes[int(choose(recognised))] for choose in (np.nanargmax, np.nanargmin))
        return _svg(
            figure,
            f'Confusion matrix of {label}: shares of each true class (rows) by '
            f'predicted class (columns). Recognised best: {best}; worst: {worst}.',
            label,
            not numbered,
        )


def draw_calibration(runs: Sequence[tuple[Style, CalibrationBins]]) -> Picture:
    """Reliability diagram: how often a class is there against how probable it was called."""
    figure = Figure(figsize=(5, 4.9), layout='constrained')
    with matplotlib.rc_context(_STYLE):
        axes, below = figure.subplots(2, height_ratios=[4, 1], sharex=True)
        axes.plot([0, 1], [0, 1], color='0.6', linewidth=1, label='calibrated')
        width = 0.8 / len(runs)
        for place, (style, bins) in enumerate(runs):
            filled = bins.counts > 0
            axes.plot(
                bins.confidence[filled],
                bins.frequency[filled],
                color=style.colour,
                linestyle=style.dashes,
                marker='o',
                markersize=4,
                label=style.label,
            )
            steps = np.diff(bins.edges)
            below.bar(
                bins.edges[:-1] + (0.1 + place * width) * steps,
                bins.counts,
                width=width * steps,
                align='edge',
                color=style.colour,
            )
        axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel='share of these that are present')
        axes.legend(fontsize=8, loc='upper left')
        below.set(xlabel='predicted probability of presence', ylabel='count', yscale='log')
        below.set_ylim(bottom=0.5)
        return _svg(
            figure,
            'Reliability diagram: share of classes that are present against the '
            'predicted probability, with the number of predictions in each bin, for '
            + ', '.join(style.label for style, _ in runs)
            + '.',
        )


def png_picture(content: bytes, alt: str, caption: str = '') -> Picture:
    """A PNG as a picture of the page."""
    width, height = (int.from_bytes(content[at : at + 4], 'big') for at in (16, 20))
    address = f'data:image/png;base64,{base64.b64encode(content).decode()}'
    return Picture(address, alt, width, height, caption)


def _svg(figure: Figure, alt: str, caption: str = '', scrolls: bool = False) -> Picture:
    content = io.BytesIO()
    # Without a date the same run gives the same page.
    figure.savefig(content, format='svg', metadata=dict(Date=None))
    width, height = (math.ceil(96 * inches) for inches in figure.get_size_inches())
    address = f'data:image/svg+xml;base64,{base64.b64encode(content.getvalue()).decode()}'
    return Picture(address, alt, width, height, caption, scrolls)
