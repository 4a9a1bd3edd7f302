"""Figure style: palette, text sizes and the helpers that draw every figure.

The helpers set the style on the figures themselves and leave ``rcParams`` unchanged, so several
threads can draw at once and the caller's own figures keep their style. Importing this module does
not load matplotlib.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure, FigureBase
    from matplotlib.patches import Patch

# Okabe and Ito's palette, which remains distinguishable with colour-vision deficiencies. Yellow is
# last because lines in it disappear on white.
PALETTE = (
    '#0072B2',
    '#D55E00',
    '#009E73',
    '#CC79A7',
    '#E69F00',
    '#56B4E9',
    '#787878',
    '#F0E442',
)
LINE_COLOURS = PALETTE[:-1]
BLUE, VERMILION = PALETTE[:2]
SEQUENTIAL, SHARES = 'viridis', 'Blues'
INK, MUTED, PALE, GRID = '0.2', '0.4', '0.8', '0.9'

# Points.
SMALL, NORMAL, LARGE = 8.5, 9.5, 11

DPI = 120
# Inches around each part of a figure.
PAD = 0.06
# Larger images are subsampled: no figure resolves more.
MAX_PIXELS = 1600


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, laid out by matplotlib's constrained layout."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout='constrained')
    figure.get_layout_engine().set(w_pad=PAD, h_pad=PAD, wspace=0, hspace=0)
    FigureCanvasAgg(figure)
    return figure


def add_title(figure: FigureBase, title: str = '', note: str = '', **font) -> None:
    """Write a bold title (or one in another font) above a figure and a note below, flush left."""
    left = PAD / figure.bbox.width * figure.dpi
    if title:
        figure.suptitle(title, x=left, ha='left', **dict(fontsize=LARGE, fontweight='bold') | font)
    if note:
        figure.supxlabel(note, x=left, ha='left', fontsize=SMALL, color=MUTED)


def format_axes(axes: Axes, grid: str | None = None) -> None:
    """Apply the style to a chart, with grid lines of the axis ``'x'``, ``'y'`` or ``'both'``."""
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(length=2.5, pad=2.5, labelsize=SMALL)
    axes.title.set_fontsize(NORMAL)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(NORMAL)
    if grid:
        axes.grid(axis=grid, color=GRID)
        axes.set_axisbelow(True)


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """Name what is drawn into axes below the figure, in a number of columns."""
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc='outside lower center',
        ncols=columns,
        frameon=False,
        fontsize=NORMAL,
    )


def show_image(axes: Axes, image: np.ndarray, smooth: bool = False, **options) -> None:
    """Show an image without ticks at the top left of its axes.

    Pixel coordinates in ``axes`` are those of ``image``, also where it is too large to be shown at
    its full resolution.

    Args:
        axes: The axes.
        image: RGB image ``(H, W, 3)`` uint8, or values ``(H, W)``.
        smooth: Whether to interpolate; label maps must not be.
        **options: Further arguments of ``imshow``.
    """
    height, width = image.shape[:2]
    step = max(1, max(height, width) // MAX_PIXELS)
    axes.imshow(
        image[::step, ::step],
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation='antialiased' if smooth else 'nearest',
        **options,
    )
    axes.set_anchor('NW')
    # Measuring invisible ticks would take most of the time of the layout.
    axes.set(xticks=[], yticks=[])
    axes.set_axis_off()


def centred_text(axes: Axes, x: float, y: float, text: str, **options) -> None:
    """Write small text centred on a point."""
    axes.text(x, y, text, fontsize=SMALL, ha='center', va='center_baseline', **options)


def legend(axes: Axes, **options) -> None:
    """Add a small legend without a frame to a chart, with further options of matplotlib's."""
    axes.legend(**dict(fontsize=SMALL, frameon=False) | options)


def share_bar(axes: Axes, image: ScalarMappable, label: str = '', **options) -> None:
    """Add a colour bar of shares from 0 to 1, with further options of matplotlib's."""
    bar = axes.figure.colorbar(image, ax=axes, format=percent_tick, **options)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize=SMALL)


def swatch(rgb: Sequence[int], label: str, **options) -> Patch:
    """Return the legend entry of a colour given as RGB values from 0 to 255."""
    from matplotlib.patches import Patch

    look = dict(facecolor=np.array(rgb) / 255, edgecolor=MUTED, linewidth=0.6)
    return Patch(**look, label=label, **options)


def legend_height(entries: Sequence[Patch], width: float) -> float:
    """Return the height in inches of a legend ``width`` inches wide, see :func:`add_legend`."""
    return 0.21 * _legend_grid(entries, width)[0] + 0.1


def _legend_grid(entries: Sequence[Patch], width: float) -> tuple[int, int]:
    """Return the rows and columns of a legend that is at most ``width`` inches wide."""
    widest = 0.5 + max(text_width(entry.get_label()) for entry in entries)
    rows = math.ceil(len(entries) / max(1, int(width / widest)))
    return rows, math.ceil(len(entries) / rows)


def add_legend(figure: FigureBase, entries: Sequence[Patch]) -> None:
    """Fill a figure with a legend, in as many columns as fit its width."""
    width = figure.bbox.width / figure.figure.dpi
    figure.legend(
        handles=entries,
        loc='upper left',
        ncols=_legend_grid(entries, width)[1],
        frameon=False,
        fontsize=SMALL,
        borderpad=0.2,
        borderaxespad=0.2,
        labelspacing=0.6,
        columnspacing=1.4,
        handlelength=1.7,
        handleheight=1.2,
    )


def text_width(text: str, size: float = SMALL) -> float:
    """Return the width of a line of text in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def shortened(text: str, width: float, size: float = SMALL) -> str:
    """Return as much of a text as fits into ``width`` inches, with an ellipsis if it is cut."""
    if text_width(text, size) <= width:
        return text
    length = next(
        length
        for length in range(len(text), 0, -1)
        if text_width(f'{text[:length]}…', size) <= width
    )
    return f'{text[:length]}…'


def percent(share: float) -> str:
    """Return a share from 0 to 1 as a percentage with at least two significant digits."""
    if share == 0:
        return '0 %'
    if share < 1e-5:
        return '<0.001 %'
    return f'{share * 100:.1f} %' if share >= 0.0995 else f'{share * 100:#.2g} %'


def percent_tick(share: float, position: int | None = None) -> str:
    """Return the tick label of a share from 0 to 1."""
    return f'{share * 100:.3g} %'


def pixels(figure: Figure) -> np.ndarray:
    """Return the RGB pixels ``(H, W, 3)`` uint8 of a figure of :func:`new_figure`."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file, creating its folder; the suffix selects the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, format='png')
    return content.getvalue()


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG; equal figures give equal bytes."""
    import matplotlib

    content = io.BytesIO()
    with matplotlib.rc_context({'svg.hashsalt': 'mmseg_encnet'}):
        figure.savefig(content, format='svg', metadata=dict(Date=None))
    return content.getvalue()
