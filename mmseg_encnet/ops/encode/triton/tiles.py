"""Tile sizes of the Triton kernels: a default for every class of shapes, and candidates to time.

All were chosen without a GPU, by compiling: no registers are spilled, and a multiprocessor of any
supported architecture has at least two tiles in flight. `mmseg_encnet.workbench.kernels` shows and
tests it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Tiles(NamedTuple):
    """Sizes of one kernel.

    Attributes:
        positions: Positions per tile, a power of two.
        channels: Channels per block, a power of two.
        warps: Warps per program.
        stages: Blocks of features that are loaded ahead, including the one in use.
    """

    positions: int
    channels: int
    warps: int
    stages: int


class Variant(NamedTuple):
    """Sizes of the kernels that read features.

    Attributes:
        assign, gather, differentiate: Sizes of the kernels of these names.
        codes: Codewords in one product of the features' gradient, a power of two.
        grouped: Whether images that fit into the L2 cache together pass both kernels before the
            next ones do. Otherwise features larger than the cache are read from memory twice; with
            it, every group takes two launches.
    """

    assign: Tiles
    gather: Tiles
    differentiate: Tiles
    codes: int
    grouped: bool = False


def padded_codes(codes: int) -> int:
    """Return the side of a product that holds all codewords."""
    # Tensor-core products need every side to be at least 16.
    return max(16, 1 << (codes - 1).bit_length())


# By dtype of the features, then by the most codewords that the sizes are for. In float16, `gather`
# also needs the largest weight of a tile.
_VARIANTS: dict[torch.dtype, dict[int, tuple[Variant, ...]]] = {
    torch.float32: {
        32: (
            Variant(Tiles(64, 32, 4, 3), Tiles(32, 64, 4, 3), Tiles(64, 32, 4, 3), 32),
            Variant(Tiles(64, 32, 4, 4), Tiles(32, 64, 4, 4), Tiles(32, 32, 4, 3), 32),
            Variant(Tiles(128, 32, 8, 3), Tiles(32, 128, 8, 3), Tiles(64, 32, 4, 3), 32),
        ),
        64: (
            Variant(Tiles(64, 32, 4, 2), Tiles(32, 64, 4, 2), Tiles(32, 32, 4, 2), 16),
            Variant(Tiles(64, 32, 4, 3), Tiles(16, 64, 4, 3), Tiles(32, 32, 4, 3), 16),
        ),
        128: (
            Variant(Tiles(32, 32, 4, 2), Tiles(16, 64, 4, 3), Tiles(32, 32, 4, 2), 16),
            Variant(Tiles(32, 32, 4, 3), Tiles(16, 32, 4, 3), Tiles(16, 32, 4, 2), 32),
        ),
    },
    torch.bfloat16: {
        32: (
            Variant(Tiles(64, 32, 4, 3), Tiles(32, 128, 4, 3), Tiles(64, 32, 4, 3), 32),
            Variant(Tiles(64, 64, 4, 3), Tiles(32, 128, 4, 3), Tiles(64, 64, 4, 2), 32),
            Variant(Tiles(128, 64, 8, 3), Tiles(64, 128, 8, 3), Tiles(64, 32, 4, 3), 32),
        ),
        64: (
            Variant(Tiles(64, 32, 4, 3), Tiles(32, 64, 4, 3), Tiles(64, 32, 4, 2), 64),
            Variant(Tiles(64, 64, 4, 2), Tiles(32, 64, 8, 3), Tiles(64, 32, 4, 2), 32),
            Variant(Tiles(64, 32, 4, 3), Tiles(32, 64, 8, 3), Tiles(32, 32, 4, 2), 64),
        ),
        128: (
            Variant(Tiles(64, 32, 4, 2), Tiles(32, 64, 4, 2), Tiles(32, 32, 4, 2), 32),
            Variant(Tiles(32, 64, 4, 2), Tiles(16, 64, 4, 2), Tiles(32, 64, 4, 2), 32),
            Variant(Tiles(64, 32, 4, 2), Tiles(16, 128, 8, 2), Tiles(32, 32, 4, 2), 16),
        ),
    },
    torch.float16: {
        32: (
            Variant(Tiles(64, 32, 4, 3), Tiles(64, 64, 4, 2), Tiles(64, 32, 4, 3), 32),
            Variant(Tiles(64, 64, 4, 3), Tiles(64, 64, 4, 2), Tiles(64, 64, 4, 2), 32),
            Variant(Tiles(128, 64, 8, 3), Tiles(64, 128, 8, 3), Tiles(64, 32, 4, 3), 32),
        ),
        64: (
            Variant(Tiles(64, 32, 4, 3), Tiles(16, 64, 4, 3), Tiles(64, 32, 4, 2), 64),
            Variant(Tiles(64, 64, 4, 2), Tiles(16, 128, 8, 3), Tiles(64, 32, 4, 2), 32),
            Variant(Tiles(64, 32, 4, 3), Tiles(16, 128, 8, 3), Tiles(32, 32, 4, 2), 64),
        ),
        128: (
            Variant(Tiles(64, 32, 4, 2), Tiles(16, 64, 4, 3), Tiles(32, 32, 4, 2), 32),
            Variant(Tiles(32, 64, 4, 2), Tiles(16, 64, 4, 2), Tiles(32, 64, 4, 2), 32),
        ),
    },
}
# With more, a tile needs more registers than there are.
MOST_CODES = 128
# Including the default with groups.
MOST_VARIANTS = 1 + max(len(v) for table in _VARIANTS.values() for v in table.values())


def variants(codes: int, dtype: torch.dtype) -> tuple[Variant, ...]:
    """Return candidates for a number of codewords and a dtype of features, the default first."""
    table = _VARIANTS[dtype]
    default, *others = table[next(size for size in table if codes <= size)]
    return default, *others, default._replace(grouped=True)
