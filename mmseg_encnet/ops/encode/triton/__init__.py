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

import contextlib
import functools
import importlib
import importlib.util
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmseg_encnet.ops.encode.operator import make_encode
from mmseg_encnet.ops.encode.triton.tiles import Tiles, Variant, padded_codes, variants
from mmseg_encnet.ops.numerics import NEGLIGIBLE, result_dtype

# Channels, shares and tiles that the small kernels process at a time.
_ROW_BLOCK, _ADDED_BLOCK, _TILES_BLOCK = 128, 16, 256
# Elements; 16 bytes of the shortest dtype are 8, and Triton itself looks for multiples of 16.
_LONGEST_VECTOR = 16


def refusal(*tensors: Tensor) -> str | None:
    """Return why the kernels cannot run on this machine, or why they do not take these tensors."""
    if importlib.util.find_spec('triton') is None:
        return 'the package triton is not installed; run `pip install triton`'
    interpreted = _interpreted()
    if not tensors:
        if torch.cuda.is_available() or interpreted:
            return None
        return 'it runs on CUDA, and this machine has no CUDA GPU; use one with a GPU'
    if any(tensor.dtype == torch.float64 for tensor in tensors):
        dtypes = ', '.join(str(tensor.dtype) for tensor in tensors)
        return f'it computes in single precision, got {dtypes}; convert x, codewords and scale'
    if not interpreted and any(not tensor.is_cuda for tensor in tensors):
        return f'it runs on CUDA, got x on {tensors[0].device}; move it to a GPU'
    return None


def _interpreted() -> bool:
    # The interpreter runs kernels on the CPU, slowly, to test their arithmetic.
    return os.environ.get('TRITON_INTERPRET') == '1'


def load_kernels() -> Any:
    """Return the module of the kernels."""
    # Importing triton takes as long as the rest of the package.
    return importlib.import_module('mmseg_encnet.ops.encode.triton.kernels')


def _half(dtype: torch.dtype) -> Any:
    """Return Triton's name of a half-precision dtype, or None for single precision."""
    import triton.language as tl

    return {torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}.get(dtype)


@functools.cache
def _units(device: torch.device) -> int:
    if device.type != 'cuda':
        return 4
    return torch.cuda.get_device_properties(device).multi_processor_count


# Variants that were faster than the default on this machine's GPU, by codewords and dtype.
preferred: dict[tuple[int, torch.dtype], Variant] = {}


def variant_for(codes: int, dtype: torch.dtype) -> Variant:
    """Return the tile sizes in use for a class of shapes."""
    return preferred.get((padded_codes(codes), dtype)) or variants(codes, dtype)[0]


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
    single = {'dtype': torch.float32}
    if dictionary is None:
        centre, centred = values.new_empty(channels, **single), torch.empty_like(values, **single)
    else:
        centre, centred = dictionary.centre, dictionary.centred
    size = values.shape if half else (0,)
    prepared = _Prepared(
        centre,
        centred,
        values.new_empty(rows, **single),
        values.new_empty(size, dtype=x.dtype),
        values.new_empty(size, dtype=x.dtype),
        values.new_empty(rows if half else 0, **single),
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
        'INTERPRETED': _interpreted(),
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


def _gather(x: Tensor, centre: Tensor, weights: Tensor, tiles: Tiles) -> tuple[Tensor, Tensor, int]:
    """Return weighted sums ``(B * shares, K, C)``, their masses and the number of shares."""
    batch, channels, positions = x.shape
    codes = weights.shape[1]
    blocks = -(-channels // tiles.channels)
    # Enough programs for two on every multiprocessor, each with at least one tile.
    shares = max(1, min(-(-positions // tiles.positions), 2 * _units(x.device) // (batch * blocks)))
    share = -(-positions // (shares * tiles.positions)) * tiles.positions
    shares = -(-positions // share)
    sums = x.new_empty((batch * shares, codes, channels), dtype=torch.float32)
    mass = x.new_empty((batch * shares, codes), dtype=torch.float32)
    options = _options(x, codes, tiles)
    load_kernels().gather[(blocks, shares, batch)](
        x, centre, weights, sums, mass,
        *_strides(x, options['X_MULTIPLE']), channels, positions, codes, share, **options,
    )  # fmt: skip
    return sums, mass, shares


def _on_its_device(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function of tensors so that Triton launches on the GPU of the first one."""

    @functools.wraps(function)
    def guarded(first: Tensor, *others: Any) -> Any:
        with torch.cuda.device(first.device) if first.is_cuda else contextlib.nullcontext():
            return function(first, *others)

    return guarded


@_on_its_device
def forward(x: Tensor, codewords: Tensor, scale: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    batch, channels, positions = x.shape
    codes, dtype = codewords.shape[0], result_dtype(x, codewords)
    distances = x.new_empty((batch, codes, positions) if keep else 0, dtype=torch.float32)
    if x.numel() == 0:
        return x.new_zeros((batch, codes, channels), dtype=dtype), distances
    x = _readable(x)
    variant = variant_for(codes, x.dtype)
    options = _options(x, codes, variant.assign)
    dictionary = _prepare(codewords.contiguous(), x)
    weights = x.new_empty((batch, codes, positions), dtype=torch.float32)
    load_kernels().assign[(-(-positions // variant.assign.positions), batch)](
        x, dictionary.centre, dictionary.centred, dictionary.high, dictionary.low,
        dictionary.levels, dictionary.inner, scale.contiguous(), distances, weights,
        *_strides(x, options['X_MULTIPLE']), channels, positions, codes,
        KEEP=keep, NEGLIGIBLE=NEGLIGIBLE, **options,
    )  # fmt: skip
    sums, mass, shares = _gather(x, dictionary.centre, weights, variant.gather)
    encoded = x.new_empty((batch, codes, channels), dtype=dtype)
    load_kernels().finish_encoding[(-(-channels // _ROW_BLOCK), codes, batch)](
        sums, mass, dictionary.centre, dictionary.centred, encoded, shares, codes, channels,
        HALF=_half(x.dtype), BLOCK_R=_ADDED_BLOCK, BLOCK_C=_ROW_BLOCK,
    )  # fmt: skip
    return encoded, distances


@_on_its_device
def backward(
    grad: Tensor, x: Tensor, codewords: Tensor, scale: Tensor, distances: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    batch, channels, positions = x.shape
    codes = codewords.shape[0]
    if x.numel() == 0:
        return torch.empty_like(x), torch.zeros_like(codewords), torch.zeros_like(scale)
    x = _readable(x)
    variant = variant_for(codes, x.dtype)
    options = _options(x, codes, variant.differentiate)
    if options['LAST']:
        grad_x = x.new_empty(batch, positions, channels).transpose(1, 2)
    else:
        grad_x = x.new_empty(batch, channels, positions)
    grad, scale = grad.contiguous(), scale.contiguous()
    dictionary = _prepare(codewords.contiguous(), x)
    rows = _prepare(grad, x, dictionary)
    count = -(-positions // variant.differentiate.positions)
    changes = x.new_empty((batch, codes, positions), dtype=torch.float32)
    block = min(variant.codes, padded_codes(codes))
    weights = torch.empty_like(changes) if block < padded_codes(codes) else changes.new_empty(0)
    masses, grad_scales = x.new_empty((2, batch, codes, count), dtype=torch.float32)
    load_kernels().differentiate[(count, batch)](
        x, dictionary.centre, dictionary.centred, grad, rows.high, rows.low, rows.levels,
        rows.inner, scale, distances.contiguous(), grad_x, weights, changes, masses, grad_scales,
        *_strides(x, options['X_MULTIPLE']), *_strides(grad_x, options['X_MULTIPLE']),
        channels, positions, codes, NEGLIGIBLE=NEGLIGIBLE, BLOCK_Q=block, **options,
    )  # fmt: skip
    sums, mass, shares = _gather(x, dictionary.centre, changes, variant.gather)
    grad_codewords, grad_scale = codewords.new_empty(codes, channels), scale.new_empty(codes)
    load_kernels().finish_gradients[(-(-channels // _ROW_BLOCK), codes)](
        sums, mass, dictionary.centre, dictionary.centred, grad, masses, grad_scales,
        grad_codewords, grad_scale,
        batch, shares, count, codes, channels,
        HALF=_half(x.dtype), BLOCK_R=_ADDED_BLOCK, BLOCK_C=_ROW_BLOCK, BLOCK_T=_TILES_BLOCK,
    )  # fmt: skip
    return grad_x, grad_codewords, grad_scale


encode = make_encode('encode_triton', forward, backward)
