"""Tile sizes of the Triton kernels of the loss: a default, and candidates to time.

All were chosen without a GPU, by compiling, as for the encoding. `mmseg_encnet.workbench.kernels`
shows and tests it.
"""

from __future__ import annotations

from typing import NamedTuple

# Small columns in one product, of which every side must be at least 16.
BLOCK_J = 16
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
    """

    rows: int
    columns: int
    unroll: int
    normalise_warps: int
    classes: int
    longest: int
    warps: int


VARIANTS = (
    Variant(8, 64, 4, 4, 16, 128, 8),
    Variant(4, 64, 4, 4, 32, 128, 8),
    Variant(8, 32, 4, 4, 16, 64, 4),
)


def column_tile(width: int, label_width: int, align_corners: bool, longest: int) -> tuple[int, int]:
    """Return how many columns of labels a tile holds, and how many small columns it is for.

    The pixels that the small columns touch fit into the tile, unless a single one touches more.
    """
    if align_corners and width > 1 and label_width > 1:
        stride = (label_width - 1) / (width - 1)
    else:
        stride = label_width / width
    block = _SHORTEST
    while block < longest and block < BLOCK_J * stride:
        block *= 2
    return block, min(BLOCK_J, max(1, int(block / stride) - 1))
