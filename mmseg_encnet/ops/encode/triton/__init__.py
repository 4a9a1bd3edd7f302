"""The encoding on the tensor cores of CUDA GPUs: two kernels forward and two backward.

- Forward, ``assign`` computes distances and weights of a tile of positions, and ``gather`` sums the
  features over positions by those weights.
- Backward, ``differentiate`` computes ``q`` (see `dense`) and the gradient of the features of a
  tile, and ``gather`` sums the features by ``q``, for the codewords' gradient.

Only the ``(B, K, N)`` weights pass from one kernel to the next. The second kernel of a pass finds
the features in the L2 cache if they fit there. Sums over positions stay in registers until a
program has processed its share; the shares are added up in a fixed order, without atomics, so
results are bitwise reproducible. Small kernels prepare what does not depend on the features and add
up the shares.

Precision. Features in float32 are centred and multiplied as three tf32 products, which resolves as
much as single precision. Features in float16 and bfloat16 enter the products as they are; the
codewords, the gradient or the weights, in single precision, are split into two summands of that
dtype, after scaling by a power of two where float16 could overflow. Instead of the features, the
other terms of the expanded squares and sums are shifted. For the equations see `dense`.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmseg_encnet.ops import triton as ops_triton
from mmseg_encnet.ops.encode.operator import make_encode
from mmseg_encnet.ops.encode.triton.tiles import (
    MOST_CODES,
    MOST_VARIANTS,
    Tiles,
    Variant,
    padded_codes,
    variants,
)
from mmseg_encnet.ops.numerics import NEGLIGIBLE, result_dtype
from mmseg_encnet.ops.triton import interpreted, on_its_device, units

# Channels, shares and tiles that the small kernels process at a time.
_ROW_BLOCK, _ADDED_BLOCK, _TILES_BLOCK = 128, 16, 256
# Elements; 16 bytes of the shortest dtype are 8, and Triton itself looks for multiples of 16.
_LONGEST_VECTOR = 16


def refusal(*tensors: Tensor) -> str | None:
    """Return why the kernels cannot run on this machine, or why they do not take these tensors."""
    reason = ops_triton.refusal(tensors)
    if reason is None and len(tensors) > 1 and len(tensors[1]) > MOST_CODES:
        return f'it takes up to {MOST_CODES} codewords, got {len(tensors[1])}; use fewer'
    return reason


def load_kernels() -> Any:
    """Return the module of the kernels."""
    # Importing triton takes as long as the rest of the package.
    return importlib.import_module('mmseg_encnet.ops.encode.triton.kernels')


def _half(dtype: torch.dtype) -> Any:
    """Return Triton's name of a half-precision dtype, or None for single precision."""
    import triton.language as tl

    return {torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}.get(dtype)


@functools.cache
def _cache_bytes(device: torch.device) -> int:
    """Return the size of the L2 cache."""
    if device.type != 'cuda':
        return 2**15
    return torch.cuda.get_device_properties(device).L2_cache_size


def _groups(x: Tensor, variant: Variant, tensors: int) -> Iterator[slice]:
    """Yield slices of images that a pass's kernels process one after the other.

    Args:
        x: Features.
        variant: Whether to group at all.
        tensors: Tensors of the size of the features that the first kernel reads or writes.
    """
    batch = images = len(x)
    if variant.grouped:
        # Half of the cache, because the other tensors pass through it too.
        images = max(1, _cache_bytes(x.device) // (2 * tensors * x[0].nbytes))
    for first in range(0, batch, images):
        yield slice(first, first + images)


class _Prepared(NamedTuple):
    """What `kernels.prepare` computes of the codewords or the incoming gradient."""

    centre: Tensor
    centred: Tensor
    inner: Tensor
    high: Tensor
    low: Tensor
    levels: Tensor


def _prepare(values: Tensor, x: Tensor, dictionary: _Prepared | None = None) -> _Prepared:
    """Prepare codewords ``(K, C)`` or, given the dictionary, a gradient ``(B, K, C)``."""
    codes, channels = values.shape[-2:]
    rows, half = values.numel() // channels, _half(x.dtype)
    single = torch.float32
    if dictionary is None:
        centre, centred = (
            values.new_empty(channels, dtype=single),
            torch.empty_like(values, dtype=single),
        )
    else:
        centre, centred = dictionary.centre, dictionary.centred
    size = values.shape if half else (0,)
    prepared = _Prepared(
        centre,
        centred,
        values.new_empty(values.shape[:-1], dtype=single),
        values.new_empty(size, dtype=x.dtype),
        values.new_empty(size, dtype=x.dtype),
        values.new_empty(values.shape[:-1] if half else 0, dtype=single),
    )
    load_kernels().prepare[(rows,)](
        values, *prepared, codes, channels, DICTIONARY=dictionary is None, HALF=half,
        BLOCK_K=padded_codes(codes), BLOCK_C=_ROW_BLOCK,
    )  # fmt: skip
    return prepared


def _readable(x: Tensor) -> Tensor:
    """Return the features with a unit stride over positions or channels."""
    return x if 1 in x.stride()[1:] else x.contiguous()


def _options(x: Tensor, codes: int, tiles: Tiles) -> dict[str, Any]:
    """Return the compile-time constants and options of the kernels that read features."""
    channels, positions = x.shape[1:]
    last = x.stride(2) != 1
    row = channels if last else positions
    return {
        'HALF': _half(x.dtype),
        'LAST': last,
        'X_MULTIPLE': math.gcd(_LONGEST_VECTOR, row, *_strides(x, 1)),
        'N_MULTIPLE': math.gcd(_LONGEST_VECTOR, positions),
        'INTERPRETED': interpreted(),
        'BLOCK_K': padded_codes(codes),
        'BLOCK_N': tiles.positions,
        'BLOCK_C': tiles.channels,
        'num_warps': tiles.warps,
        'num_stages': tiles.stages,
    }


def _strides(x: Tensor, multiple: int) -> tuple[int, int]:
    """Return the strides over images and over rows of the features, in units of `multiple`."""
    row = x.stride(1) if x.stride(2) == 1 else x.stride(2)
    return x.stride(0) // multiple, row // multiple


class _Sums:
    """Sums of features over positions, by shares of the positions of every image.

    Attributes:
        shares: Shares per image.
        values: ``(B, shares, K, C)``.
        masses: Sums of the weights alone, ``(B, shares, K)``.
    """

    def __init__(self, x: Tensor, codes: int, tiles: Tiles, images: int) -> None:
        batch, channels, positions = x.shape
        self.tiles = tiles
        self.blocks = -(-channels // tiles.channels)
        # Enough programs for two on every multiprocessor, each with at least one tile.
        wanted = 2 * units(x.device) // (images * self.blocks)
        shares = max(1, min(-(-positions // tiles.positions), wanted))
        self.share = -(-positions // (shares * tiles.positions)) * tiles.positions
        self.shares = -(-positions // self.share)
        size = batch, self.shares, codes
        self.values = x.new_empty((*size, channels), dtype=torch.float32)
        self.masses = x.new_empty(size, dtype=torch.float32)

    def gather(self, images: slice, x: Tensor, centre: Tensor, weights: Tensor) -> None:
        """Write the sums of some images, whose features and weights these are."""
        channels, positions = x.shape[1:]
        codes = weights.shape[1]
        options = _options(x, codes, self.tiles)
        load_kernels().gather[(self.blocks, self.shares, len(x))](
            x, centre, weights, self.values[images], self.masses[images],
            *_strides(x, options['X_MULTIPLE']), channels, positions, codes, self.share, **options,
        )  # fmt: skip


@on_its_device
def forward(
    x: Tensor, codewords: Tensor, scale: Tensor, keep: bool, variant: Variant
) -> tuple[Tensor, Tensor]:
    batch, channels, positions = x.shape
    codes, dtype = codewords.shape[0], result_dtype(x, codewords)
    distances = x.new_empty((batch, codes, positions) if keep else 0, dtype=torch.float32)
    if x.numel() == 0:
        return x.new_zeros((batch, codes, channels), dtype=dtype), distances
    x = _readable(x)
    options = _options(x, codes, variant.assign)
    dictionary = _prepare(codewords.contiguous(), x)
    scale = scale.contiguous()
    weights = x.new_empty((batch, codes, positions), dtype=torch.float32)
    groups = list(_groups(x, variant, tensors=1))
    sums = _Sums(x, codes, variant.gather, images=min(batch, groups[0].stop))
    for images in groups:
        part = x[images]
        load_kernels().assign[(-(-positions // variant.assign.positions), len(part))](
            part, dictionary.centre, dictionary.centred, dictionary.high, dictionary.low,
            dictionary.levels, dictionary.inner, scale, distances[images], weights[images],
            *_strides(x, options['X_MULTIPLE']), channels, positions, codes,
            KEEP=keep, NEGLIGIBLE=NEGLIGIBLE, **options,
        )  # fmt: skip
        sums.gather(images, part, dictionary.centre, weights[images])
    encoded = x.new_empty((batch, codes, channels), dtype=dtype)
    load_kernels().finish_encoding[(-(-channels // _ROW_BLOCK), codes, batch)](
        sums.values, sums.masses, dictionary.centre, dictionary.centred, encoded,
        sums.shares, codes, channels,
        HALF=_half(x.dtype), BLOCK_R=_ADDED_BLOCK, BLOCK_C=_ROW_BLOCK,
    )  # fmt: skip
    return encoded, distances


@on_its_device
def backward(
    grad: Tensor, x: Tensor, codewords: Tensor, scale: Tensor, distances: Tensor, variant: Variant
) -> tuple[Tensor, Tensor, Tensor]:
    batch, channels, positions = x.shape
    codes = codewords.shape[0]
    if x.numel() == 0:
        return torch.empty_like(x), torch.zeros_like(codewords), torch.zeros_like(scale)
    x = _readable(x)
    options = _options(x, codes, variant.differentiate)
    if options['LAST']:
        grad_x = x.new_empty(batch, positions, channels).transpose(1, 2)
    else:
        grad_x = x.new_empty(batch, channels, positions)
    grad, scale, distances = grad.contiguous(), scale.contiguous(), distances.contiguous()
    dictionary = _prepare(codewords.contiguous(), x)
    rows = _prepare(grad, x, dictionary)
    count = -(-positions // variant.differentiate.positions)
    changes = x.new_empty((batch, codes, positions), dtype=torch.float32)
    block = min(variant.codes, padded_codes(codes))
    weights = torch.empty_like(changes) if block < padded_codes(codes) else changes.new_empty(0)
    masses, grad_scales = x.new_empty((2, batch, codes, count), dtype=torch.float32)
    groups = list(_groups(x, variant, tensors=2))
    sums = _Sums(x, codes, variant.gather, images=min(batch, groups[0].stop))
    for images in groups:
        part = x[images]
        load_kernels().differentiate[(count, len(part))](
            part, dictionary.centre, dictionary.centred, grad[images],
            rows.high[images], rows.low[images], rows.levels[images], rows.inner[images],
            scale, distances[images], grad_x[images],
            weights[images], changes[images], masses[images], grad_scales[images],
            *_strides(x, options['X_MULTIPLE']), *_strides(grad_x, options['X_MULTIPLE']),
            channels, positions, codes, NEGLIGIBLE=NEGLIGIBLE, BLOCK_Q=block, **options,
        )  # fmt: skip
        sums.gather(images, part, dictionary.centre, changes[images])
    grad_codewords, grad_scale = codewords.new_empty(codes, channels), scale.new_empty(codes)
    load_kernels().finish_gradients[(-(-channels // _ROW_BLOCK), codes)](
        sums.values, sums.masses, dictionary.centre, dictionary.centred, grad, masses, grad_scales,
        grad_codewords, grad_scale, batch, sums.shares, count, codes, channels,
        HALF=_half(x.dtype), BLOCK_R=_ADDED_BLOCK, BLOCK_C=_ROW_BLOCK, BLOCK_T=_TILES_BLOCK,
    )  # fmt: skip
    return grad_x, grad_codewords, grad_scale


def _operator(number: int) -> Callable[..., Tensor]:
    """Build the operator with the variant of this number in :func:`variants`."""

    def run_forward(
        x: Tensor, codewords: Tensor, scale: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor]:
        return forward(x, codewords, scale, keep, variants(len(codewords), x.dtype)[number])

    def run_backward(
        grad: Tensor, x: Tensor, codewords: Tensor, scale: Tensor, distances: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        variant = variants(len(codewords), x.dtype)[number]
        return backward(grad, x, codewords, scale, distances, variant)

    name = f'encode_triton_{number}' if number else 'encode_triton'
    return make_encode(name, run_forward, run_backward)


# One for each variant, so that forward and backward of a call use the same tiles.
_OPERATORS = tuple(_operator(number) for number in range(MOST_VARIANTS))
encode = _OPERATORS[0]


def operators(x: Tensor, codewords: Tensor, scale: Tensor) -> dict[str, Callable[..., Tensor]]:
    """Return the operators whose tile sizes may be the fastest for these tensors, by name."""
    chosen = {}
    for number, variant in enumerate(variants(len(codewords), x.dtype)):
        # In one group, images pass the kernels as without groups.
        if not variant.grouped or len(list(_groups(x, variant, tensors=2))) > 1:
            chosen[f'tiles {number}'] = _OPERATORS[number]
    return chosen
