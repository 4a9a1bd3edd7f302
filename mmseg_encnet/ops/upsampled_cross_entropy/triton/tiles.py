"""Tile sizes of the Triton kernels of the loss: a default, and candidates to time.

All were chosen without a GPU, by compiling, as for the encoding. `mmseg_encnet.workbench.kernels`
shows and tests it.
"""

from __future__ import annotations

from typing import NamedTuple

# Columns of labels that ``differentiate`` sums up at a time.
TAPS = 8
_MOST_COLUMNS = 16
_SHORTEST = 32


class Variant(NamedTuple):
    """Sizes of both kernels.

    Attributes:
        rows, columns: Rows and columns of labels in a tile of ``normalise``, powers of two.
        unroll: Classes whose loads ``normalise`` may issue together.
        normalise_warps: Warps of ``normalise``.
        classes, longest: Classes and the most columns of labels in a tile of ``differentiate``,
            powers of two.
        warps: Warps of ``differentiate``.
        registers: The most registers of its threads. Without it, the assembler spills a few for
            one more program per multiprocessor.
    """

    rows: int
    columns: int
    unroll: int
    normalise_warps: int
    classes: int
    longest: int
    warps: int
    registers: int


VARIANTS = (
    Variant(4, 64, 4, 4, 8, 128, 4, 168),
    Variant(4, 64, 4, 4, 16, 64, 4, 168),
    Variant(4, 32, 4, 4, 16, 64, 8, 128),
)


class ColumnTile(NamedTuple):
    """Sizes of a tile of ``differentiate`` along the columns.

    Attributes:
        block: Columns of labels in the tile, a power of two. Those that the small columns touch fit
            into it, unless a single one touches more.
        columns: Small columns that the tile is for.
        padded: The next power of two.
    """

    block: int
    columns: int
    padded: int


def column_tile(width: int, label_width: int, align_corners: bool, longest: int) -> ColumnTile:
    """Return the tile for `width` small columns and `label_width` columns of labels."""
    stride = label_width / width
    if align_corners and width > 1 and label_width > 1:
        stride = (label_width - 1) / (width - 1)
    block = _SHORTEST
    while block < longest and block < _MOST_COLUMNS * stride:
        block *= 2
    columns = min(_MOST_COLUMNS, max(1, int(block / stride) - 1))
    return ColumnTile(block, columns, 1 << (columns - 1).bit_length())
