"""The single maps and charts of a context sheet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from mmseg_encnet.visualization import style
from mmseg_encnet.visualization.class_colours import IGNORED, colour
from mmseg_encnet.visualization.context_sheet.painting import (
    codeword_colours,
    paint_codewords,
    paint_errors,
)
from mmseg_encnet.visualization.context_sheet.prediction import ContextPrediction
from mmseg_encnet.visualization.region_numbers import number_regions

# The charts show the leading classes and codewords.
MAX_CLASSES, MAX_CODEWORDS = 24, 12


@dataclass(frozen=True)
class Part:
    """One map or chart.

    Attributes:
        title: Its title.
        draw: Draws it into axes.
        is_map: Whether it has the shape of the image; charts have any shape.
    """

    title: str
    draw: Callable[[Axes], None]
    is_map: bool = True


def sheet_parts(context: ContextPrediction) -> dict[str, Part]:
    """Return the maps and charts for which a prediction has data, in the order of the sheet.

    The names are ``image``, ``truth``, ``prediction``, ``errors``, ``codewords``,
    ``codeword_shares``, ``strong_1``, ``weak_1`` and so on, and ``presence``.
    """
    parts = {'image': Part('Image', partial(style.show_image, image=context.image, smooth=True))}

    def add_map(name: str, title: str, picture: np.ndarray) -> None:
        parts[name] = Part(title, partial(style.show_image, image=picture))

    if context.truth is not None:
        add_map('truth', 'Ground truth', colour(context.truth, context.palette))
    add_map('prediction', 'Prediction', colour(context.prediction, context.palette))
    if context.truth is not None:
        share = '' if np.isnan(context.error_share) else f': {style.percent(context.error_share)}'
        add_map('errors', f'Errors{share}', paint_errors(context))
    if context.assignments is not None:
        parts['codewords'] = Part('Strongest codeword', partial(draw_codewords, context))
        parts['codeword_shares'] = Part(
            'Codeword shares', partial(draw_codeword_shares, context), is_map=False
        )
    if context.channel_maps is not None:
        half = len(context.channels) // 2
        for index, channel in enumerate(context.channels):
            end, rank = ('strong', index + 1) if index < half else ('weak', index - half + 1)
            gate = f', gate {context.gate[channel]:.2f}' if context.gate is not None else ''
            values = context.channel_maps[index].astype(np.float32)
            parts[f'{end}_{rank}'] = Part(
                f'Channel {channel}{gate}',
                partial(style.show_image, image=values, smooth=True, cmap=style.SEQUENTIAL),
            )
    if context.presence is not None:
        count = len(context.presence)
        leading = f': {MAX_CLASSES} of {count} classes' if count > MAX_CLASSES else ''
        parts['presence'] = Part(
            f'Class presence{leading}', partial(draw_presence, context), is_map=False
        )
    return parts


def draw_codewords(context: ContextPrediction, axes: Axes) -> None:
    """Draw the codeword map, with numbers on the large regions."""
    style.show_image(axes, paint_codewords(context))
    number_regions(axes, context.codewords, codeword_colours(len(context.assignments)))


def draw_codeword_shares(context: ContextPrediction, axes: Axes) -> None:
    """Draw the shares of the leading codewords as bars in their colours, along the longer side."""
    shares = context.codeword_shares
    order = np.argsort(-shares, kind='stable')[:MAX_CODEWORDS]
    others = len(shares) - len(order)
    places = np.arange(len(order))
    height, width = context.image.shape[:2]
    upright = width > 0.9 * height
    look = dict(
        color=codeword_colours(len(shares))[order] / 255, edgecolor=style.INK, linewidth=0.6
    )
    if upright:
        axes.bar(places, shares[order], **look)
        codes, values = axes.xaxis, axes.yaxis
    else:
        axes.barh(places, shares[order], **look)
        axes.invert_yaxis()
        codes, values = axes.yaxis, axes.xaxis
    codes.set_ticks(places, [str(code) for code in order])
    values.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    values.set_major_formatter(style.percent_tick)
    if others:
        # In the corner that descending bars leave empty.
        axes.text(
            1,
            1 if upright else 0,
            f'{others} more: {style.percent(1 - shares[order].sum())}',
            transform=axes.transAxes,
            ha='right',
            va='top' if upright else 'bottom',
            fontsize=style.SMALL,
        )
        axes.margins(**{'y' if upright else 'x': 0.25})
    style.format_axes(axes)


def draw_presence(context: ContextPrediction, axes: Axes) -> None:
    """Draw the predicted probability of each class, on grey for classes in the ground truth."""
    presence = context.presence
    known = context.truth is not None
    present = context.true_presence if known else np.zeros(len(presence), bool)
    # Classes that are present come before those that are only predicted.
    order = np.argsort(-(presence + present), kind='stable')[:MAX_CLASSES]
    order = order[np.argsort(-presence[order], kind='stable')]
    places = np.arange(len(order))
    handles = [Patch(facecolor=style.BLUE, label='predicted')]
    if known:
        axes.bar(places[present[order]], 1, width=0.92, color=style.PALE, zorder=0)
        handles.append(Patch(facecolor=style.PALE, label='in the ground truth'))
    axes.bar(places, presence[order], width=0.55, color=style.BLUE)
    axes.axhline(0.5, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    names = [style.shortened(context.classes[index], 0.95) for index in order]
    axes.set_xticks(places, names, rotation=35, ha='right', rotation_mode='anchor')
    # A few classes do not become wide blocks.
    axes.set(xlim=(-0.6, max(len(order), 12) - 0.4), ylim=(0, 1), yticks=[0, 0.5, 1])
    style.format_axes(axes)
    place = dict(loc='lower right', bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.1)
    style.legend(axes, handles=handles, handlelength=1.2, **place)


def legend_entries(context: ContextPrediction) -> list[Patch]:
    """Return the colours and names of the classes that occur, by decreasing share."""
    shares = context.class_shares
    occurs = shares > 0
    if context.truth is not None:
        occurs = occurs | context.true_presence
    entries = []
    for index in sorted(np.flatnonzero(occurs), key=lambda index: -shares[index]):
        detail = style.percent(shares[index]) if shares[index] else 'ground truth only'
        name = style.shortened(context.classes[index], 1.3)
        entries.append(style.swatch(context.palette[index], f'{name}  {detail}'))
    if context.truth is not None and not context.labelled.all():
        entries.append(style.swatch(IGNORED, 'ignored'))
    return entries
