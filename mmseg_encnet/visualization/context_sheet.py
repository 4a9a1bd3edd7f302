"""One sheet an image: what a model labelled, and the context that it labelled it from.

Every part of the sheet can be drawn alone: :func:`sheet_parts` gives them by name, and
:func:`draw_sheet` arranges those that a prediction has. Figures are made without pyplot, so
several threads can draw at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import cv2
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator

from mmseg_encnet.errors import UserError
from mmseg_encnet.visualization.class_colours import IGNORED, colour, is_ignored

# Okabe and Ito's colours that people with any colour vision tell apart, black aside.
OKABE_ITO = np.array(
    [
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (240, 228, 66),
        (0, 114, 178),
        (213, 94, 0),
        (204, 121, 167),
        (120, 120, 120),
    ],
    dtype=np.uint8,
)
PREDICTED, WRONG = '#0072b2', (213, 94, 0)
HEAT = 'viridis'

# Of more classes or codewords a chart shows the leading ones.
MAX_CLASS_BARS = 24
MAX_CODEWORD_BARS = 16

# Inches.
WIDTH, GAP, TITLE, MARGIN = 12.4, 0.14, 0.26, 0.12
PRESENCE_HEIGHT, CHART_HEIGHT = 2.35, 1.3
DPI = 110
SMALL, NORMAL = 8.5, 9.5


@dataclass(frozen=True)
class ContextPrediction:
    """What is known of one image; what is None, its model does not tell.

    Attributes:
        image: RGB photograph ``(H, W, 3)`` uint8.
        prediction: Class indices ``(H, W)``.
        classes: Class names by index.
        palette: RGB colours by index.
        truth: Class indices ``(H, W)``; what lies outside the classes is ignored.
        presence: Probability ``(num_classes,)`` that each class occurs.
        gate: The gate gamma ``(channels,)``.
        channels: Indices ``(n,)`` of the channels in ``channel_maps``: the first half has the
            strongest gates, the second half the weakest.
        channel_maps: Features ``(n, H, W)`` of these channels.
        assignments: Soft assignments ``(num_codes, H, W)`` of pixels to codewords.

    Raises:
        UserError: If the maps differ in size.
    """

    image: np.ndarray
    prediction: np.ndarray
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    truth: np.ndarray | None = None
    presence: np.ndarray | None = None
    gate: np.ndarray | None = None
    channels: np.ndarray | None = None
    channel_maps: np.ndarray | None = None
    assignments: np.ndarray | None = None

    def __post_init__(self) -> None:
        size = self.image.shape[:2]
        for name in ('prediction', 'truth', 'channel_maps', 'assignments'):
            value = getattr(self, name)
            if value is not None and value.shape[-2:] != size:
                raise UserError(
                    f'the {name} is {value.shape[-2]}x{value.shape[-1]} (height x width) where its '
                    f'image is {size[0]}x{size[1]}; give the image as the model was given it, and '
                    'load annotations after the image has been resized.'
                )

    @classmethod
    def from_data_sample(
        cls,
        image: np.ndarray,
        data_sample: Any,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
    ) -> ContextPrediction:
        """Take over what a predicted ``SegDataSample`` holds.

        Args:
            image: RGB photograph ``(H, W, 3)`` uint8 in its original size.
            data_sample: Has ``pred_sem_seg``; may have ``gt_sem_seg`` and the fields that
                ``ContextEncoderDecoder`` adds.
            classes: Class names by index.
            palette: RGB colours by index.

        Raises:
            UserError: If the maps differ in size.
        """

        def field(name: str) -> np.ndarray | None:
            value = data_sample.get(name)
            value = getattr(value, 'data', value)
            kept = value is None or isinstance(value, np.ndarray)
            return value if kept else value.detach().cpu().numpy()

        truth = field('gt_sem_seg')
        return cls(
            image,
            field('pred_sem_seg')[0],
            classes,
            palette,
            truth=None if truth is None else np.squeeze(truth, axis=0),
            presence=field('presence'),
            gate=field('gate'),
            channels=field('gated_channels'),
            channel_maps=field('gated_features'),
            assignments=field('assignments'),
        )

    @cached_property
    def labelled(self) -> np.ndarray:
        """Where the truth ``(H, W)`` is one of the classes, bool."""
        return ~is_ignored(self.truth, len(self.classes))

    @cached_property
    def codewords(self) -> np.ndarray:
        """The codeword ``(H, W)`` with each pixel's strongest assignment."""
        return self.assignments.argmax(axis=0)

    @cached_property
    def codeword_shares(self) -> np.ndarray:
        """The mean soft assignment ``(num_codes,)`` to each codeword; they sum to one."""
        return self.assignments.mean(axis=(1, 2))

    @cached_property
    def true_presence(self) -> np.ndarray:
        """Which classes ``(num_classes,)`` occur in the truth, bool."""
        counts = np.bincount(self.truth[self.labelled], minlength=len(self.classes))
        return counts > 0

    @cached_property
    def class_shares(self) -> np.ndarray:
        """The share ``(num_classes,)`` of the pixels that are predicted as each class."""
        return (
            np.bincount(self.prediction.ravel(), minlength=len(self.classes)) / self.prediction.size
        )


def codeword_colours(num_codes: int) -> np.ndarray:
    """RGB colours ``(num_codes, 3)`` uint8, the same for a codeword in every image.

    The first eight are :data:`OKABE_ITO`; each further eight are a lighter or a darker set of
    them, so that neighbours in number differ in hue.
    """
    # Towards white (positive) or black: the two that stand out most come first.
    shades = (0, 0.55, -0.5, 0.3, -0.25, 0.75, -0.7, 0.15)
    colours = []
    for code in range(num_codes):
        base = OKABE_ITO[code % 8].astype(float)
        shade = shades[code // 8 % 8]
        colours.append(base + (255 - base) * shade if shade > 0 else base * (1 + shade))
    return np.array(colours, dtype=np.uint8).reshape(-1, 3)


def paint_codewords(context: ContextPrediction) -> np.ndarray:
    """The strongest codeword of each pixel in its colour, ``(H, W, 3)`` uint8."""
    return colour(context.codewords, codeword_colours(len(context.assignments)))


def paint_truth(context: ContextPrediction) -> np.ndarray:
    """The truth in the classes' colours, ignored pixels black, ``(H, W, 3)`` uint8."""
    return colour(context.truth, context.palette)


def paint_prediction(context: ContextPrediction) -> np.ndarray:
    """The prediction in the classes' colours, ``(H, W, 3)`` uint8."""
    return colour(context.prediction, context.palette)


def paint_errors(context: ContextPrediction) -> np.ndarray:
    """Wrong pixels in vermilion over a pale photograph, ignored ones black, as RGB uint8."""
    grey = cv2.cvtColor(context.image, cv2.COLOR_RGB2GRAY)
    painted = np.repeat((170 + grey[..., None] / 3).astype(np.uint8), 3, axis=2)
    painted[context.labelled & (context.prediction != context.truth)] = WRONG
    painted[~context.labelled] = IGNORED
    return painted


def error_share(context: ContextPrediction) -> float:
    """The share of the labelled pixels that are predicted wrongly; NaN without labelled pixels."""
    wrong = context.prediction[context.labelled] != context.truth[context.labelled]
    return float(wrong.mean()) if wrong.size else float('nan')


@dataclass(frozen=True)
class Part:
    """One part of the sheet.

    Attributes:
        title: What stands above it.
        draw: Draws it into axes.
        is_map: Whether it has the shape of the image; else it is a chart of any shape.
    """

    title: str
    draw: Callable[[Axes], None]
    is_map: bool = True


def sheet_parts(context: ContextPrediction) -> dict[str, Part]:
    """The parts that a prediction has, by name, in the order of the sheet.

    The names are ``image``, ``truth``, ``prediction``, ``errors``, ``codewords``,
    ``codeword_shares``, ``strong_1``, ``weak_1`` and so on, ``presence`` and ``legend``.
    """
    parts = {'image': Part('image', partial(_draw_picture, picture=context.image, smooth=True))}
    if context.truth is not None:
        parts['truth'] = Part('truth', partial(_draw_picture, picture=paint_truth(context)))
    parts['prediction'] = Part(
        'prediction', partial(_draw_picture, picture=paint_prediction(context))
    )
    if context.truth is not None:
        share = error_share(context)
        title = 'errors' if np.isnan(share) else f'errors: {share:.1%}'
        parts['errors'] = Part(title, partial(_draw_picture, picture=paint_errors(context)))
    if context.assignments is not None:
        parts['codewords'] = Part('strongest codeword', partial(draw_codewords, context))
        parts['codeword_shares'] = Part(
            'share of each codeword', partial(draw_codeword_shares, context), is_map=False
        )
    if context.channel_maps is not None:
        half = len(context.channels) // 2
        for index, channel in enumerate(context.channels):
            end, rank = ('strong', index + 1) if index < half else ('weak', index - half + 1)
            gate = f' {context.gate[channel]:.2f}' if context.gate is not None else ''
            parts[f'{end}_{rank}'] = Part(
                f'{end} gate{gate}: channel {channel}',
                partial(_draw_heat, values=context.channel_maps[index]),
            )
    if context.presence is not None:
        parts['presence'] = Part('', partial(draw_presence, context), is_map=False)
    parts['legend'] = Part('', partial(draw_legend, context), is_map=False)
    return parts


def draw_codewords(context: ContextPrediction, axes: Axes) -> None:
    """Draw the codeword map, the numbers of large codewords upon it."""
    _draw_picture(axes, paint_codewords(context))
    codewords = context.codewords
    room = 0.028 * sum(codewords.shape)
    for code in np.unique(codewords):
        # Padded, so that the edge of the picture counts as the edge of the codeword.
        inside = np.pad((codewords == code).astype(np.uint8), 1)
        _, distance, _, (x, y) = cv2.minMaxLoc(cv2.distanceTransform(inside, cv2.DIST_L2, 3))
        if distance > room:
            axes.text(
                x - 1,
                y - 1,
                str(code),
                ha='center',
                va='center',
                fontsize=SMALL,
                color='black',
                path_effects=[patheffects.withStroke(linewidth=2, foreground='white')],
            )


def draw_codeword_shares(context: ContextPrediction, axes: Axes) -> None:
    """Draw the shares of the leading codewords as bars in their colours."""
    shares = context.codeword_shares
    width, height = _inches(axes)
    upright = width > 0.9 * height
    room = (width / 0.155) if upright else (height / 0.17)
    order = np.argsort(-shares, kind='stable')[: min(MAX_CODEWORD_BARS, int(room))]
    others = len(shares) - len(order)
    places = np.arange(len(order))
    colours = codeword_colours(len(shares))[order] / 255
    style = dict(color=colours, edgecolor='0.3', linewidth=0.6)
    longest = shares[order[0]] * (1.3 if others and upright else 1.08)
    limits = -0.6, max(len(order), 6) + (0.6 if others and not upright else -0.4)
    if upright:
        axes.bar(places, shares[order], **style)
        axes.set(xlim=limits, ylim=(0, longest))
        codes, values = axes.xaxis, axes.yaxis
    else:
        axes.barh(places, shares[order], **style)
        axes.set(xlim=(0, longest), ylim=limits[::-1])
        codes, values = axes.yaxis, axes.xaxis
    codes.set_ticks(places, [str(code) for code in order])
    locator = MaxNLocator(4 if upright else 3, steps=[1, 2, 5, 10])
    ticks = [tick for tick in locator.tick_values(0, longest) if tick <= longest]
    values.set_ticks(ticks, [f'{100 * tick:.3g}%' for tick in ticks])
    if others:
        axes.text(
            1,
            1 if upright else 0,
            f'{others} more: {1 - shares[order].sum():.1%}',
            transform=axes.transAxes,
            ha='right',
            va='top' if upright else 'bottom',
            fontsize=SMALL,
        )
    _plain(axes)
    if upright and width / len(order) < 0.19:
        codes.set_tick_params(labelsize=SMALL - 1.5)


def draw_presence(context: ContextPrediction, axes: Axes) -> None:
    """Draw the predicted probability of each class, against whether it occurs in the truth."""
    presence = context.presence
    known = context.truth is not None
    occurs = context.true_presence if known else np.zeros(len(presence), bool)
    # Those that occur are never left out for ones that do not.
    room = max(2, int(_inches(axes)[0] / 0.3))
    order = np.argsort(-(presence + occurs), kind='stable')[: min(MAX_CLASS_BARS, room)]
    order = order[np.argsort(-presence[order], kind='stable')]
    places = np.arange(len(order))
    handles = [Patch(facecolor=PREDICTED, label='predicted')]
    if known:
        axes.bar(places[occurs[order]], 1, width=0.92, color='0.82', zorder=0)
        handles.append(Patch(facecolor='0.82', label='in the truth'))
    axes.bar(places, presence[order], width=0.55, color=PREDICTED)
    axes.axhline(0.5, color='0.35', linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xticks(
        places,
        [_short(context.classes[index], 0.95) for index in order],
        rotation=35,
        ha='right',
        rotation_mode='anchor',
    )
    axes.set_xlim(-0.6, max(len(order), min(room, 12)) - 0.4)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])
    all_or_some = f'{len(order)} of {len(presence)} ' if len(order) < len(presence) else ''
    axes.set_title(f'presence of {all_or_some}classes', fontsize=NORMAL, loc='left', pad=5)
    axes.legend(
        handles=handles,
        loc='lower right',
        bbox_to_anchor=(1, 1),
        ncols=2,
        frameon=False,
        fontsize=SMALL,
        borderaxespad=0.1,
        handlelength=1.2,
    )
    _plain(axes)


def draw_legend(context: ContextPrediction, axes: Axes) -> None:
    """Draw the colours and names of the classes that occur, by falling share of the prediction."""
    entries = _legend_entries(context)
    width = _inches(axes)[0]
    columns, rows = _legend_grid(entries, width)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_axis_off()
    step = width / columns
    for place, (label, rgb) in enumerate(entries):
        column, row = place % columns, place // columns
        axes.add_patch(
            Rectangle(
                (column, row + 0.2), 0.2 / step, 0.6, facecolor=rgb, edgecolor='0.4', linewidth=0.6
            )
        )
        axes.text(column + 0.27 / step, row + 0.52, label, fontsize=SMALL, va='center')


def draw_sheet(context: ContextPrediction, title: str = '') -> Figure:
    """Draw all parts that a prediction has.

    Args:
        context: The prediction.
        title: What stands above the sheet, such as the name of the image.

    Returns:
        A figure that is in no one's hands yet: save it, or take its :func:`pixels`.
    """
    parts = sheet_parts(context)
    ratio = context.image.shape[0] / context.image.shape[1]
    rows = _arrange(list(parts), ratio)
    bands = [_Band([parts[name] for name in row], columns, ratio) for row, columns in rows]
    total = max(band.width for band in bands)
    legend_rows = _legend_grid(_legend_entries(context), total)[1]
    labelled = max(index for index, (row, _) in enumerate(rows) if 'prediction' in row)
    bands.insert(labelled + 1, _Band([parts['legend']], 1, 0.23 * legend_rows / total, total))
    if 'presence' in parts:
        bands.append(_Band([parts['presence']], 1, PRESENCE_HEIGHT / total, total, 'presence'))
    note = _note(parts)
    head = MARGIN + (0.26 if title else 0)
    foot = MARGIN + (0.2 if note else 0)
    size = total + 2 * MARGIN, head + sum(band.height for band in bands) + foot
    figure = Figure(figsize=size, dpi=DPI)
    FigureCanvasAgg(figure)
    if title:
        figure.text(
            MARGIN / size[0],
            1 - MARGIN / size[1],
            title,
            fontsize=NORMAL + 1.5,
            fontweight='bold',
            va='top',
        )
    top = size[1] - head
    for band in bands:
        band.draw(figure, size, top)
        top -= band.height
    if note:
        figure.text(MARGIN / size[0], MARGIN / size[1], note, fontsize=SMALL, color='0.35')
    return figure


def draw_part(context: ContextPrediction, name: str, width: float = 6) -> Figure:
    """Draw one part of :func:`sheet_parts` alone, ``width`` inches wide."""
    part = sheet_parts(context)[name]
    height, image_width = context.image.shape[:2]
    if part.is_map:
        ratio = height / image_width
    elif name == 'legend':
        inner = width - 2 * MARGIN
        ratio = 0.23 * _legend_grid(_legend_entries(context), inner)[1] / inner
    else:
        ratio = PRESENCE_HEIGHT / width
    band = _Band([part], 1, ratio, width - 2 * MARGIN, name)
    size = width, band.height + 2 * MARGIN
    figure = Figure(figsize=size, dpi=DPI)
    FigureCanvasAgg(figure)
    band.draw(figure, size, size[1] - MARGIN)
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """The RGB pixels ``(H, W, 3)`` uint8 of a figure of this module."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def _arrange(names: Sequence[str], ratio: float) -> list[tuple[list[str], int]]:
    """Put the names of pictures into rows, each with its number of columns.

    Args:
        names: Names of :func:`sheet_parts`.
        ratio: Height of the image over its width.
    """
    pictures = [name for name in names if name in ('image', 'truth', 'prediction', 'errors')]
    codes = [name for name in names if name.startswith('codeword')]
    strong = [name for name in names if name.startswith('strong')]
    weak = [name for name in names if name.startswith('weak')]
    if ratio > 1.05:
        rows = [(pictures + codes, 6), (strong + weak, 6)]
    elif ratio < 0.4:
        rows = [(pictures[i : i + 2], 2) for i in range(0, len(pictures), 2)]
        rows += [(codes, 2), (strong, 3), (weak, 3)]
    elif len(pictures) == 4 and codes and len(strong) == 3:
        rows = [(pictures, 4), (codes[:1] + strong, 4), (codes[1:] + weak, 4)]
    else:
        rows = [(pictures + codes, 4), (strong + weak, 6)]
        if len(pictures + codes) > 4:
            rows[:1] = [(pictures, 4), (codes, 4)]
    return [(row, columns) for row, columns in rows if row]


def _note(parts: Mapping[str, Part]) -> str:
    sentences = []
    if 'errors' in parts:
        sentences.append('Errors: share of the labelled pixels.')
    if 'codeword_shares' in parts:
        sentences.append('Share of a codeword: mean soft assignment of the pixels.')
    if 'strong_1' in parts:
        sentences.append(
            'Channels: features before the gate, each from its smallest value (dark) '
            'to its largest (bright).'
        )
    return ' '.join(sentences)


class _Band:
    """A row of parts of one size; lengths in inches."""

    def __init__(
        self,
        parts: Sequence[Part],
        columns: int,
        ratio: float,
        width: float = WIDTH,
        chart: str = '',
    ) -> None:
        self.parts = parts
        self.chart = chart
        self.tile = (width - GAP * (columns - 1)) / columns
        self.width = self.tile * len(parts) + GAP * (len(parts) - 1)
        self.picture = self.tile * ratio
        self.title = TITLE if any(part.title for part in parts) else 0
        # A chart beside a narrow panorama is higher.
        charts = any(part.title and not part.is_map for part in parts)
        self.room = max(self.picture, CHART_HEIGHT) if charts else self.picture
        self.height = self.title + self.room + GAP

    def draw(self, figure: Figure, size: tuple[float, float], top: float) -> None:
        for index, part in enumerate(self.parts):
            left = MARGIN + index * (self.tile + GAP)
            bottom = top - self.title - self.picture
            box = [left, bottom, self.tile, self.picture]
            if not part.is_map and part.title:
                # Room for the ticks of a chart among pictures.
                bottom = top - self.title - self.room
                box = [left + 0.4, bottom + 0.2, self.tile - 0.4, self.room - 0.2]
            elif self.chart == 'presence':
                box = [left + 0.5, bottom + 0.7, self.tile - 0.55, self.picture - 0.98]
            axes = figure.add_axes(
                [box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]]
            )
            part.draw(axes)
            if part.title:
                figure.text(
                    left / size[0],
                    (top - self.title + 0.05) / size[1],
                    part.title,
                    fontsize=NORMAL if self.tile > 2.4 else SMALL,
                    va='bottom',
                )


def _draw_picture(axes: Axes, picture: np.ndarray, smooth: bool = False) -> None:
    height, width = picture.shape[:2]
    # Far beyond what a sheet resolves.
    step = max(1, max(height, width) // 1600)
    axes.imshow(
        picture[::step, ::step],
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation='antialiased' if smooth else 'nearest',
        aspect='auto',
    )
    axes.set_axis_off()


def _draw_heat(axes: Axes, values: np.ndarray) -> None:
    axes.imshow(values.astype(np.float32), cmap=HEAT, interpolation='antialiased', aspect='auto')
    axes.set_axis_off()


def _legend_entries(context: ContextPrediction) -> list[tuple[str, np.ndarray]]:
    shares = context.class_shares
    occurs = shares > 0
    if context.truth is not None:
        occurs = occurs | context.true_presence
    entries = []
    for index in sorted(np.flatnonzero(occurs), key=lambda index: -shares[index]):
        share = shares[index]
        detail = 'in the truth only' if not share else '<0.1%' if share < 0.001 else f'{share:.1%}'
        entries.append(
            (
                f'{_short(context.classes[index], 1.3)}  {detail}',
                np.array(context.palette[index]) / 255,
            )
        )
    if context.truth is not None and not context.labelled.all():
        entries.append(('ignored', np.array(IGNORED) / 255))
    return entries


def _legend_grid(entries: Sequence[tuple[str, Any]], width: float) -> tuple[int, int]:
    """Columns and rows of a legend ``width`` inches wide."""
    widest = 0.5 + max(_text_width(label) for label, _ in entries)
    rows = -(-len(entries) // max(1, int(width / widest)))
    return -(-len(entries) // rows), rows


def _short(name: str, width: float) -> str:
    """As much of a name as fits into ``width`` inches."""
    if _text_width(name) <= width:
        return name
    length = next(
        length for length in range(len(name), 0, -1) if _text_width(f'{name[:length]}…') <= width
    )
    return f'{name[:length]}…'


@lru_cache(maxsize=4096)
def _text_width(text: str) -> float:
    return TextPath((0, 0), text, size=SMALL).get_extents().x1 / 72


def _inches(axes: Axes) -> tuple[float, float]:
    extent = axes.get_window_extent()
    return extent.width / axes.figure.dpi, extent.height / axes.figure.dpi


def _plain(axes: Axes) -> None:
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(length=2, pad=2, labelsize=SMALL)
