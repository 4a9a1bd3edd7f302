"""Pictures of what the labels of a data set hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.cluster import hierarchy

from mmseg_encnet.workbench.inspection.label_statistics import LabelStatistics

# Blue and orange keep apart for every kind of colour vision; the ramp grows darker all the way.
_BLUE, _ORANGE, _DARK_ORANGE, _INK = '#1f5f99', '#e08214', '#9c5a06', '0.2'
_RAMP = LinearSegmentedColormap.from_list(
    'probability', ['#ffffff', '#dbe9f6', '#9cc4e4', '#4a90c7', '#1f5f99', '#0b2545']
)
_DPI = 150


def plot_frequency(statistics: LabelStatistics, title: str, path: Path) -> None:
    """Draw the share of pixels and of images that every class has, the most frequent first.

    Args:
        statistics: What the labels hold.
        title: Name of the data set and split.
        path: File to write, in a format that its suffix names.
    """
    pixels = statistics.pixels / max(statistics.pixels.sum(), 1)
    images = statistics.images_with / statistics.images
    order = np.argsort(-statistics.pixels, kind='stable')
    # More than fits on a screen goes into blocks side by side.
    blocks = -(-len(order) // 60)
    rows = -(-len(order) // blocks)
    # Inches.
    names, plot, shares, head, foot = _length(statistics.classes, 8), 3.6, 1.6, 0.75, 0.75
    block_width = names + plot + shares + 0.1
    width, height = blocks * block_width + 0.1, head + rows * 0.2 + foot
    figure = Figure(figsize=(width, height), dpi=_DPI)
    # From the power of ten below the rarest class.
    left = 10.0 ** np.floor(np.log10(pixels[pixels > 0].min(initial=0.1) * 0.8))
    for block in range(blocks):
        members = order[block * rows : (block + 1) * rows]
        cell = figure.add_axes(
            (
                (block * block_width + names) / width,
                foot / height,
                plot / width,
                rows * 0.2 / height,
            )
        )
        cell.set(xscale='log', xlim=(left, 1.25), ylim=(rows - 0.4, -0.6))
        _draw_frequency(
            cell, [statistics.classes[index] for index in members], pixels[members], images[members]
        )
    figure.legend(
        *cell.get_legend_handles_labels(),
        loc='lower left',
        ncols=2,
        frameon=False,
        fontsize=9,
        bbox_to_anchor=(0.02 / width, 0.02 / height),
    )
    labelled = statistics.pixels.sum()
    ignored = statistics.ignored_pixels / max(labelled + statistics.ignored_pixels, 1)
    _write_title(
        figure,
        f'{title}: class frequency',
        f'{statistics.images:,} images, {labelled:,} labelled pixels, '
        f'{_percent(ignored)} of all pixels ignored',
    )
    _save(figure, path)


def _draw_frequency(cell: Axes, names: list[str], pixels: np.ndarray, images: np.ndarray) -> None:
    places = np.arange(len(names))
    found = pixels > 0
    cell.hlines(places[found], pixels[found], images[found], color='0.75', linewidth=1.5, zorder=1)
    cell.plot(
        pixels[found],
        places[found],
        'o',
        color=_BLUE,
        markersize=5,
        label='share of the labelled pixels',
    )
    cell.plot(
        images[found],
        places[found],
        'D',
        color=_ORANGE,
        markersize=4.5,
        label='share of the images that hold the class',
    )
    cell.set_yticks(places, names, fontsize=8)
    cell.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f'{share * 100:g} %'))
    cell.tick_params(axis='x', labelsize=8)
    cell.tick_params(axis='y', length=0)
    cell.grid(axis='x', color='0.9')
    cell.set_axisbelow(True)
    cell.spines[['top', 'right', 'left']].set_visible(False)
    text = dict(fontsize=8, ha='right', va='center_baseline', transform=cell.get_yaxis_transform())
    for x, head, shares, ink in (
        (1.19, 'pixels', pixels, _BLUE),
        (1.38, 'images', images, _DARK_ORANGE),
    ):
        cell.text(x, -1, head, color=_INK, **text)
        for place, share in zip(places, shares):
            cell.text(x, place, _percent(share), color=ink if share else '0.5', **text)


def plot_classes_per_image(statistics: LabelStatistics, title: str, path: Path) -> None:
    """Draw how many images hold how many classes.

    Args:
        statistics: What the labels hold.
        title: Name of the data set and split.
        path: File to write, in a format that its suffix names.
    """
    images = statistics.images_by_class_count
    numbers = np.flatnonzero(images)
    shown = np.arange(max(numbers.min() - 1, 0), numbers.max() + 1)
    figure = Figure(
        figsize=(max(6.4, min(0.5 * len(shown) + 1, 11)), 4), dpi=_DPI, layout='constrained'
    )
    cell = figure.subplots()
    bars = cell.bar(shown, images[shown], width=0.86, color=_BLUE)
    if len(shown) <= 20:
        cell.bar_label(
            bars,
            [f'{count:,}' if count else '' for count in images[shown]],
            fontsize=8,
            padding=2,
            color=_INK,
        )
    mean = statistics.classes_per_image
    cell.axvline(mean, color=_ORANGE, linewidth=2)
    # Above the bars, so that the line's name crosses none of them.
    cell.set_ylim(0, images.max() * 1.18)
    to_the_right = mean < shown.mean()
    cell.annotate(
        f'mean {mean:.2f}',
        (mean, images.max() * 1.14),
        xytext=(5 if to_the_right else -5, 0),
        textcoords='offset points',
        ha='left' if to_the_right else 'right',
        va='center',
        color=_DARK_ORANGE,
    )
    cell.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=20))
    cell.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f'{count:,.0f}'))
    cell.yaxis.set_major_locator(MaxNLocator(integer=True))
    cell.set(
        xlim=(shown[0] - 0.7, shown[-1] + 0.7),
        ylabel='images',
        xlabel=f'classes in an image (of {len(statistics.classes)})',
    )
    cell.spines[['top', 'right']].set_visible(False)
    figure.suptitle(f'{title}: classes per image', x=0.02, ha='left', fontsize=11, weight='bold')
    _save(figure, path)


def plot_co_occurrence(statistics: LabelStatistics, title: str, path: Path) -> None:
    """Draw how probable a class is where another one is: the context that EncNet learns.

    The first row, an image taken at random, is what the others are to be compared with. Classes
    that occur together stand beside each other; those that never occur are left out.

    Args:
        statistics: What the labels hold.
        title: Name of the data set and split.
        path: File to write, in a format that its suffix names.
    """
    order = co_occurrence_order(statistics)
    columns = [statistics.classes[index] for index in order]
    # Few images say little: the row tells how many it rests on.
    rows = [f'{name} ({statistics.images_with[index]:,})' for name, index in zip(columns, order)]
    number = len(order)
    given = statistics.conditional_probability[np.ix_(order, order)]
    anywhere = statistics.images_with[order] / statistics.images
    # Inches; numbers stand in the squares where they can be read.
    with_numbers = number <= 40
    square = 0.4 if with_numbers else 0.13
    font = 9 if with_numbers else 6
    first_row = f'any image ({statistics.images:,})'
    beside, above = _length([*rows, first_row], font), _length(columns, font)
    head, gap = 0.6, 0.35
    side = number * square
    # The ends of long rows and columns are named on both sides.
    foot, right = (0.2, 0.1) if with_numbers else (above, beside)
    width = max(beside + side + right + 1.0, 6.4)
    height = head + above + (number + 1 + gap) * square + foot
    figure = Figure(figsize=(width, height), dpi=_DPI)

    # Square by square: the row above, a gap, and the matrix.
    cell = figure.add_axes(
        (beside / width, foot / height, side / width, (number + 1 + gap) * square / height)
    )
    # What is certain tells nothing.
    shown = np.ma.array(given, mask=np.eye(number, dtype=bool))
    edges = np.arange(number + 1) - 0.5
    look = dict(
        cmap=_RAMP.with_extremes(bad='0.85'),
        vmin=0,
        vmax=1,
        edgecolors='0.88',
        linewidth=0.5 if with_numbers else 0.25,
    )
    image = cell.pcolormesh(edges, edges, shown, **look)
    cell.pcolormesh(edges, [-1.5 - gap, -0.5 - gap], anywhere[None], **look)
    cell.set(xlim=(-0.5, number - 0.5), ylim=(number - 0.5, -1.5 - gap))
    if with_numbers:
        for row, column in np.argwhere(~shown.mask):
            _write_percent(cell, column, row, given[row, column])
        for column, share in enumerate(anywhere):
            _write_percent(cell, column, -1 - gap, share)
    cell.set_yticks([-1 - gap, *range(number)], [first_row, *rows], fontsize=font)
    cell.set_xticks(range(number), columns, rotation=90, fontsize=font)
    both = not with_numbers
    cell.tick_params(labeltop=True, labelbottom=both, labelright=both, length=0, pad=2)
    cell.spines[:].set_visible(False)

    scale = figure.add_axes(
        (
            (beside + side + right + 0.15) / width,
            foot / height,
            0.14 / width,
            min(side, 3.5) / height,
        )
    )
    figure.colorbar(image, cax=scale, format=FuncFormatter(lambda share, _: f'{share * 100:.0f} %'))
    scale.tick_params(labelsize=8)
    scale.spines[:].set_visible(False)
    _write_title(
        figure,
        f'{title}: class co-occurrence',
        "P(column | row): percentage of the images with the row's class that hold the column's too",
    )
    _save(figure, path)


def co_occurrence_order(statistics: LabelStatistics) -> list[int]:
    """Order the classes that occur so that those of one kind of scene are neighbours.

    Hierarchical clustering by the correlation of being in an image, leaves in optimal order.
    """
    found = np.flatnonzero(statistics.images_with)
    if len(found) < 3:
        return found.tolist()
    both = statistics.images_with_both[np.ix_(found, found)] / statistics.images
    share = both.diagonal()
    spread = np.sqrt(share * (1 - share))
    # A class that is in every image correlates with none.
    scale = np.outer(spread, spread)
    correlation = np.divide(
        both - np.outer(share, share), scale, out=np.zeros_like(both), where=scale > 0
    )
    distances = (1 - correlation)[np.triu_indices(len(found), 1)].clip(0)
    tree = hierarchy.linkage(distances, 'average', optimal_ordering=True)
    return found[hierarchy.leaves_list(tree)].tolist()


def _write_percent(cell: Axes, x: float, y: float, share: float) -> None:
    # Nothing where nothing is: empty squares show the structure.
    if share > 0:
        # 100 is kept for always.
        text = '<1' if share < 0.005 else f'{min(round(share * 100), 99 if share < 1 else 100)}'
        cell.text(
            x,
            y,
            text,
            fontsize=7,
            ha='center',
            va='center_baseline',
            color='white' if share > 0.5 else 'black',
        )


def _percent(share: float) -> str:
    if share == 0:
        return '0'
    if share < 1e-5:
        return '<0.001 %'
    return f'{share * 100:.1f} %' if share >= 0.0995 else f'{share * 100:#.2g} %'


def _length(names: Sequence[str], points: float) -> float:
    """Inches that the longest of the names takes, with a margin."""
    return max(map(len, names)) * points * 0.0088 + 0.2


def _write_title(figure: Figure, title: str, subtitle: str) -> None:
    width, height = figure.get_size_inches()
    figure.text(0.12 / width, 1 - 0.12 / height, title, fontsize=11, weight='bold', va='top')
    figure.text(0.12 / width, 1 - 0.34 / height, subtitle, fontsize=9, va='top', color=_INK)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
