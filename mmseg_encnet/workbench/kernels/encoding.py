"""The kernels of the encoding: their launches, and what they compile to."""

from __future__ import annotations

import torch

from mmseg_encnet.ops.encode import triton as backend
from mmseg_encnet.ops.encode.triton.tiles import Variant, variants
from mmseg_encnet.workbench.kernels.compiled import (
    DTYPES,
    Compiled,
    Launch,
    compile_launch,
    recorded,
)

STREAMING = ('assign', 'gather', 'differentiate')


def launches(
    batch: int,
    channels: int,
    positions: int,
    codes: int,
    dtype: torch.dtype,
    channels_last: bool = False,
    variant: Variant | None = None,
    backward: bool = True,
) -> list[Launch]:
    """Return the kernels of one training step (or forward pass) of the encoding, in order."""
    with torch.device('meta'):
        x = torch.empty(batch, channels, positions, dtype=dtype)
        if channels_last:
            x = torch.empty(batch, positions, channels, dtype=dtype).transpose(1, 2)
        codewords, scale = torch.empty(codes, channels), torch.empty(codes)
    variant = variant or variants(codes, dtype)[0]
    with recorded(backend) as found:
        encoded, distances = backend.forward(x, codewords, scale, backward, variant)
        if backward:
            backend.backward(encoded, x, codewords, scale, distances, variant)
    return found


def compile_kernel(
    kernel: str,
    architecture: int,
    dtype: str,
    codes: int,
    positions: int = 3600,
    channels_last: bool = False,
    tiles: int = 0,
) -> Compiled:
    """Compile one kernel of the encoding of 512 channels with tile sizes of :func:`variants`."""
    variant = variants(codes, DTYPES[dtype])[tiles]
    steps = launches(2, 512, positions, codes, DTYPES[dtype], channels_last, variant)
    launch = next(step for step in steps if step.kernel == kernel)
    return compile_launch(launch, architecture, dtype, f'K {codes}', tiles)


def distinct_kernels(codes: int, dtype: str) -> list[tuple[str, int]]:
    """Return the kernels that read features with the numbers of their tile sizes.

    Candidates share sizes; of equal kernels, the first is listed.
    """
    found: dict[tuple, tuple[str, int]] = {}
    for number, variant in enumerate(variants(codes, DTYPES[dtype])):
        for kernel in STREAMING:
            block = variant.codes if kernel == 'differentiate' else None
            found.setdefault((kernel, getattr(variant, kernel), block), (kernel, number))
    return list(found.values())
