"""Figures of label statistics.

Each is titled with the name of the data set and split; the suffix of its path selects the format.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from matplotlib.transforms import ScaledTranslation

from mmseg_encnet.disk import check_folder
from mmseg_encnet.extras import require
from mmseg_encnet.visualization import style
from mmseg_encnet.workbench.inspection.label_statistics import LabelStatistics
from mmseg_encnet.workbench.inspection.split import LabelCounts, title_of

# Inches.
LINE = 0.2


def write_statistics(labels: LabelCounts, jobs: int, folder: Path) -> LabelStatistics:
    """Read all labels in some processes and write ``statistics.json`` and three figures.

    Raises:
        UserError: ``folder`` is not writable, or the statistics cannot be computed.
    """
    check_folder(folder)
    statistics = labels.statistics(jobs)
    title = title_of(labels)
    plot_frequency(statistics, title, folder / 'frequency.png')
    plot_classes_per_image(statistics, title, folder / 'classes_per_image.png')
    plot_co_occurrence(statistics, title, folder / 'co_occurrence.png')
    statistics.write(folder / 'statistics.json')
    return statistics


def plot_frequency(statistics: LabelStatistics, title: str, path: Path) -> None:
    """Draw each class's share of the pixels and of the images, the most frequent first."""
    labelled = statistics.pixels.sum()
    pixels = statistics.pixels / max(labelled, 1)
    images = statistics.images_with / statistics.images
    order = np.argsort(-statistics.pixels, kind='stable')
    # Blocks side by side, of at most 60 classes.
    blocks = np.array_split(order, -(-len(order) // 60))
    rows = len(blocks[0])
    names = max(map(style.text_width, statistics.classes))
    figure = style.new_figure(len(blocks) * (names + 5.6), rows * LINE + 1.5)
    # From the power of ten below the rarest class.
    left = 10.0 ** np.floor(np.log10(pixels[pixels > 0].min(initial=0.1) * 0.8))
    for axes, members in zip(figure.subplots(1, len(blocks), squeeze=False)[0], blocks):
        axes.set(xscale='log', xlim=(left, 1.25), ylim=(rows - 0.4, -0.6))
        _draw_frequency(
            axes, [statistics.classes[index] for index in members], pixels[members], images[members]
        )
    ignored = statistics.ignored_pixels / max(labelled + statistics.ignored_pixels, 1)
    style.add_title(
        figure,
        f'{title}: class frequency',
        f'{statistics.images:,} images, {labelled:,} labelled pixels, '
        f'{style.percent(ignored)} of all pixels ignored',
    )
    style.write_figure(figure, path)


def _draw_frequency(axes: Axes, names: list[str], pixels: np.ndarray, images: np.ndarray) -> None:
    places = np.arange(len(names))
    found = pixels > 0
    axes.hlines(
        places[found], pixels[found], images[found], color=style.PALE, linewidth=1.5, zorder=1
    )
    for offset, head, shares, colour, marker in (
        (50, 'pixels', pixels, style.BLUE, 'o'),
        (104, 'images', images, style.VERMILION, 'D'),
    ):
        look = dict(color=colour, markersize=4.5, label=f'share of {head}')
        axes.plot(shares[found], places[found], marker, **look)
        right_of_axes = axes.get_yaxis_transform() + ScaledTranslation(
            offset / 72, 0, axes.figure.dpi_scale_trans
        )
        look = dict(color=colour, fontsize=style.SMALL, ha='right', va='center')
        for place, text in zip([-1, *places], [head, *map(style.percent, shares)]):
            axes.text(1, place, text, transform=right_of_axes, **look)
    axes.set_yticks(places, names)
    axes.xaxis.set_major_formatter(style.percent_tick)
    style.format_axes(axes, grid='x')
    axes.tick_params(axis='y', length=0)
    axes.spines['left'].set_visible(False)
    style.legend(
        axes, loc='lower left', bbox_to_anchor=(0, 1), ncols=2, borderpad=0, handletextpad=0.2
    )


def plot_classes_per_image(statistics: LabelStatistics, title: str, path: Path) -> None:
    """Draw a histogram of the number of classes per image."""
    images = statistics.images_by_class_count
    numbers = np.flatnonzero(images)
    shown = np.arange(max(numbers.min() - 1, 0), numbers.max() + 1)
    figure = style.new_figure(np.clip(0.5 * len(shown) + 1, 6.4, 11), 4)
    axes = figure.subplots()
    bars = axes.bar(shown, images[shown], width=0.86, color=style.BLUE)
    if len(shown) <= 20:
        counts = [f'{count:,}' if count else '' for count in images[shown]]
        axes.bar_label(bars, counts, fontsize=style.SMALL, padding=2, color=style.INK)
    mean = statistics.classes_per_image
    axes.axvline(mean, color=style.VERMILION, linewidth=2)
    # Above the bars.
    axes.set_ylim(0, images.max() * 1.18)
    to_the_right = mean < shown.mean()
    axes.annotate(
        f'mean {mean:.2f}',
        (mean, images.max() * 1.14),
        xytext=(5 if to_the_right else -5, 0),
        textcoords='offset points',
        ha='left' if to_the_right else 'right',
        va='center',
        color=style.VERMILION,
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=20))
    axes.yaxis.set_major_formatter(StrMethodFormatter('{x:,.0f}'))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(
        xlim=(shown[0] - 0.7, shown[-1] + 0.7),
        ylabel='images',
        xlabel=f'classes per image (of {len(statistics.classes)})',
    )
    style.format_axes(axes, grid='y')
    style.add_title(figure, f'{title}: classes per image')
    style.write_figure(figure, path)


def plot_co_occurrence(statistics: LabelStatistics, title: str, path: Path) -> None:
    """Draw the probability of each class given another one: the context that EncNet learns.

    The first row, the probability in any image, is the reference for the others. Classes that occur
    together are neighbours; classes that never occur are left out.
    """
    order = co_occurrence_order(statistics)
    columns = [statistics.classes[index] for index in order]
    # With the number of images that the row is computed from.
    rows = [
        f'{name} ({count:,})'
        for name, count in zip(
            ['any image', *columns], [statistics.images, *statistics.images_with[order]]
        )
    ]
    number = len(order)
    given = statistics.conditional_probability[np.ix_(order, order)]
    anywhere = statistics.images_with[order] / statistics.images
    with_numbers = number <= 40
    square = 0.4 if with_numbers else 0.16
    # The long rows and columns of a large matrix have their names on both sides.
    sides = 1 if with_numbers else 2
    gap = 0.35
    figure = style.new_figure(
        max(number * square + sides * (max(map(style.text_width, rows)) + 0.1) + 1.2, 6.6),
        (number + 1 + gap) * square + sides * (max(map(style.text_width, columns)) + 0.1) + 0.7,
    )
    axes = figure.subplots()
    # The diagonal is certain by definition.
    shown = np.ma.array(given, mask=np.eye(number, dtype=bool))
    edges = np.arange(number + 1) - 0.5
    look = dict(
        cmap=colormaps[style.SHARES].with_extremes(bad=style.PALE),
        vmin=0,
        vmax=1,
        edgecolors=style.GRID,
        linewidth=0.5 if with_numbers else 0.25,
    )
    image = axes.pcolormesh(edges, edges, shown, **look)
    axes.pcolormesh(edges, [-1.5 - gap, -0.5 - gap], anywhere[None], **look)
    axes.set(xlim=(-0.5, number - 0.5), ylim=(number - 0.5, -1.5 - gap), aspect='equal')
    if with_numbers:
        for row, column in np.argwhere(~shown.mask):
            _write_percent(axes, column, row, given[row, column])
        for column, share in enumerate(anywhere):
            _write_percent(axes, column, -1 - gap, share)
    axes.set_yticks([-1 - gap, *range(number)], rows)
    axes.set_xticks(range(number), columns, rotation=90)
    style.format_axes(axes)
    both = not with_numbers
    axes.tick_params(labeltop=True, labelbottom=both, labelright=both, length=0)
    axes.spines[:].set_visible(False)
    style.share_bar(axes, image, aspect=25, shrink=0.6, anchor=(0, 0), pad=0.01)
    style.add_title(
        figure,
        f'{title}: class co-occurrence',
        'P(column | row): percentage of the images with the class of the row that also contain '
        'the class of the column',
    )
    style.write_figure(figure, path)


def co_occurrence_order(statistics: LabelStatistics) -> list[int]:
    """Return the classes that occur, ordered so that classes of similar scenes are neighbours.

    The order is the optimal leaf order of a hierarchical clustering by the correlation of presence.
    """
    found = np.flatnonzero(statistics.images_with)
    if len(found) < 3:
        return found.tolist()
    both = statistics.images_with_both[np.ix_(found, found)] / statistics.images
    share = both.diagonal()
    spread = np.sqrt(share * (1 - share))
    # The presence of a class that is in every image correlates with nothing.
    scale = np.outer(spread, spread)
    correlation = np.divide(
        both - np.outer(share, share), scale, out=np.zeros_like(both), where=scale > 0
    )
    distances = (1 - correlation)[np.triu_indices(len(found), 1)].clip(0)
    hierarchy = require('scipy.cluster.hierarchy', 'analysis')
    tree = hierarchy.linkage(distances, 'average', optimal_ordering=True)
    return found[hierarchy.leaves_list(tree)].tolist()


def _write_percent(axes: Axes, x: float, y: float, share: float) -> None:
    # Cells without images stay empty, which makes the structure visible.
    if share > 0:
        # Only certainty is written as 100.
        text = '<1' if share < 0.005 else f'{min(round(share * 100), 99 if share < 1 else 100)}'
        style.centred_text(axes, x, y, text, color='white' if share > 0.5 else 'black')
