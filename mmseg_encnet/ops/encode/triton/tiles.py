"""Tile sizes of the Triton kernels: a default by class of shapes, and candidates to time."""

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
    """Sizes of the three kernels that read features."""

    assign: Tiles
    gather: Tiles
    differentiate: Tiles


def padded_codes(codes: int) -> int:
    """Return the side of a product that holds all codewords."""
    # Tensor-core products need every side to be at least 16.
    return max(16, 1 << (codes - 1).bit_length())


def variants(codes: int, dtype: torch.dtype) -> tuple[Variant, ...]:
    """Return candidates for a number of codewords and a dtype of features, the default first."""
    if dtype == torch.float32:
        return (
            Variant(Tiles(64, 32, 4, 3), Tiles(32, 64, 4, 3), Tiles(64, 32, 4, 3)),
        )
    return (
        Variant(Tiles(64, 64, 4, 3), Tiles(64, 64, 4, 3), Tiles(64, 32, 4, 3)),
    )


def chosen(codes: int, dtype: torch.dtype) -> Variant:
    """Return the variant in use for a class of shapes."""
    return variants(codes, dtype)[0]
