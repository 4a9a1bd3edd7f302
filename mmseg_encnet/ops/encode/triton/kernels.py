"""The Triton kernels of the encoding; the package docstring says how they work together.

Compile-time constants that the kernels share:

- ``HALF``: dtype of float16 or bfloat16 features, None for float32.
- ``LAST``: whether the features are in channels-last layout.
- ``X_MULTIPLE``, ``N_MULTIPLE``: powers of two that divide the strides of the features and the
  number of positions. Strides are passed in units of ``X_MULTIPLE``.
- ``INTERPRETED``: whether Triton's interpreter runs the kernels.
- ``BLOCK_K``, ``BLOCK_N``, ``BLOCK_C``: codewords, positions and channels per tile.

Tensors other than the features and their gradient are contiguous; weights and distances are
``(B, K, N)``.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _at(n, c, stride, LAST: tl.constexpr, MULTIPLE: tl.constexpr):
    """Return offsets of channels at positions, both as columns or rows of a tile."""
    # The compiler loads vectors if it knows what divides the stride.
    if LAST:
        return n.to(tl.int64) * stride * MULTIPLE + c
    return c.to(tl.int64) * stride * MULTIPLE + n


@triton.jit
def _level(largest, HALF: tl.constexpr):
    """Return the power of two by which to divide values up to `largest`."""
    if HALF == tl.float16:  # noqa: SIM300
        # The exponent without the mantissa; the quotients are below 2**15.
        bits = tl.maximum(largest, 1e-30).to(tl.int32, bitcast=True) & 0x7F800000
        # Infinity stays infinite, so that the product becomes NaN.
        level = bits.to(tl.float32, bitcast=True) * 2.0**-14
    else:
        level = largest * 0.0 + 1.0
    return level


@triton.jit
def _split(values, HALF: tl.constexpr):
    high = values.to(HALF)
    return high, (values - high.to(tl.float32)).to(HALF)


@triton.jit
def _product(x, factor, total, PRECISION: tl.constexpr, INTERPRETED: tl.constexpr):
    if INTERPRETED:
        # The interpreter multiplies the bits of bfloat16 as if they were integers.
        total += tl.dot(x.to(tl.float32), factor.to(tl.float32), input_precision=PRECISION)
    else:
        total = tl.dot(x, factor, total, input_precision=PRECISION)
    return total


@triton.jit
def _row(values, row, k, c, codes, channels, DICTIONARY: tl.constexpr):
    """Return channels of one row and what was subtracted, the mean over all rows or zero."""
    value = tl.load(values + row.to(tl.int64) * channels + c, mask=c < channels, other=0.0)
    value = value.to(tl.float32)
    shift = tl.zeros_like(value)
    if DICTIONARY:
        inside = (k < codes)[:, None] & (c < channels)[None, :]
        every = tl.load(values + k[:, None] * channels + c[None, :], mask=inside, other=0.0)
        shift = tl.sum(every.to(tl.float32), axis=0) / codes
        value -= shift
    return value, shift


@triton.jit
def prepare(
    values, centre, centred, inner, high, low, levels, codes, channels,
    DICTIONARY: tl.constexpr, HALF: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Write what the other kernels need of the codewords or of the incoming gradient.

    One program per row of `values`, ``(K, C)`` codewords or ``(B * K, C)`` gradients. It writes the
    inner products with the codewords, in double precision and rounded once, because they enter all
    positions alike.
    """
    row = tl.program_id(0)
    k = tl.arange(0, BLOCK_K)
    total = tl.zeros((BLOCK_C,), tl.float64)
    largest = tl.zeros((BLOCK_C,), tl.float32)
    for first in range(0, channels, BLOCK_C):
        c = first + tl.arange(0, BLOCK_C)
        inside = c < channels
        value, shift = _row(values, row, k, c, codes, channels, DICTIONARY)
        if DICTIONARY:
            tl.store(centred + row * channels + c, value, mask=inside)
            if row == 0:
                tl.store(centre + c, shift, mask=inside)
            other = value.to(tl.float64)
            if HALF is not None:
                # The distances hold products with features that are not centred.
                other += 2.0 * shift.to(tl.float64)
        else:
            other = tl.load(centred + (row % codes) * channels + c, mask=inside, other=0.0)
            other = other.to(tl.float64)
            if HALF is not None:
                other += tl.load(centre + c, mask=inside, other=0.0).to(tl.float64)
        total += value.to(tl.float64) * other
        largest = tl.maximum(largest, tl.abs(value))
    tl.store(inner + row, tl.sum(total, axis=0).to(tl.float32))
    if HALF is not None:
        level = _level(tl.max(largest, axis=0), HALF)
        tl.store(levels + row, level)
        for first in range(0, channels, BLOCK_C):
            c = first + tl.arange(0, BLOCK_C)
            value, _ = _row(values, row, k, c, codes, channels, DICTIONARY)
            upper, lower = _split(value / level, HALF)
            at = row.to(tl.int64) * channels + c
            tl.store(high + at, upper, mask=c < channels)
            tl.store(low + at, lower, mask=c < channels)


@triton.jit
def _project(
    x, centre, factor, high, low, levels, n, k, stride, channels, positions, codes,
    SQUARES: tl.constexpr, HALF: tl.constexpr, LAST: tl.constexpr, X_MULTIPLE: tl.constexpr,
    INTERPRETED: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Return the products of a tile's features with all rows of `factor`, and squared norms."""
    products = tl.zeros((BLOCK_N, BLOCK_K), tl.float32)
    squares = tl.zeros((BLOCK_N, BLOCK_C), tl.float32)
    for first in range(0, channels, BLOCK_C):
        c = first + tl.arange(0, BLOCK_C)
        part = tl.load(
            x + _at(n[:, None], c[None, :], stride, LAST, X_MULTIPLE),
            mask=(n < positions)[:, None] & (c < channels)[None, :],
            other=0.0,
        )
        ck = (c < channels)[:, None] & (k < codes)[None, :]
        at = k[None, :] * channels + c[:, None]
        shift = tl.load(centre + c, mask=c < channels, other=0.0)
        shifted = part.to(tl.float32) - shift[None, :]
        if SQUARES:
            squares += shifted * shifted
        if HALF is None:
            rows = tl.load(factor + at, mask=ck, other=0.0)
            products = _product(shifted, rows, products, 'tf32x3', INTERPRETED)
        else:
            upper = tl.load(high + at, mask=ck, other=0.0)
            products = _product(part, upper, products, 'ieee', INTERPRETED)
            lower = tl.load(low + at, mask=ck, other=0.0)
            products = _product(part, lower, products, 'ieee', INTERPRETED)
    if HALF is not None:
        products *= tl.load(levels + k, mask=k < codes, other=0.0)[None, :]
    return products, tl.sum(squares, axis=1)


@triton.jit
def _weights(distances, scale, n, k, positions, codes, NEGLIGIBLE: tl.constexpr):
    logits = tl.where((k < codes)[None, :], distances * scale[None, :], float('-inf'))
    # Subtracted twice: product and difference may be contracted to a fused multiply-add, after
    # which the largest logit differs from zero by its own rounding error. The second difference
    # has no product to be fused with.
    logits -= tl.max(logits, axis=1)[:, None]
    weights = tl.exp(logits - tl.max(logits, axis=1)[:, None])
    weights = weights / tl.sum(weights, axis=1)[:, None]
    # The negated comparison preserves NaN.
    return tl.where((n < positions)[:, None] & ~(weights <= NEGLIGIBLE), weights, 0.0)


@triton.jit
def assign(
    x, centre, codewords, high, low, levels, norms, scale, distances, weights,
    stride_b, stride, channels, positions, codes,
    KEEP: tl.constexpr, NEGLIGIBLE: tl.constexpr,
    HALF: tl.constexpr, LAST: tl.constexpr, X_MULTIPLE: tl.constexpr, N_MULTIPLE: tl.constexpr,
    INTERPRETED: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Write the weights of one tile of positions and, for backward, the distances."""
    if N_MULTIPLE > 1:
        positions = tl.multiple_of(positions, N_MULTIPLE)
    image = tl.program_id(1).to(tl.int64)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    products, squares = _project(
        x + image * stride_b * X_MULTIPLE, centre, codewords, high, low, levels, n, k,
        stride, channels, positions, codes,
        True, HALF, LAST, X_MULTIPLE, INTERPRETED, BLOCK_K, BLOCK_N, BLOCK_C,
    )  # fmt: skip
    norm = tl.load(norms + k, mask=k < codes, other=0.0)
    r = squares[:, None] - 2.0 * products + norm[None, :]
    s = tl.load(scale + k, mask=k < codes, other=0.0).to(tl.float32)
    result = _weights(r, s, n, k, positions, codes, NEGLIGIBLE)
    at = image * codes * positions + k.to(tl.int64)[None, :] * positions + n[:, None]
    inside = (n < positions)[:, None] & (k < codes)[None, :]
    tl.store(weights + at, result, mask=inside)
    if KEEP:
        tl.store(distances + at, r, mask=inside)


@triton.jit
def gather(
    x, centre, weights, sums, mass,
    stride_b, stride, channels, positions, codes, share,
    HALF: tl.constexpr, LAST: tl.constexpr, X_MULTIPLE: tl.constexpr, N_MULTIPLE: tl.constexpr,
    INTERPRETED: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Write the weighted sums of one block of channels over one share of an image's positions."""
    if N_MULTIPLE > 1:
        positions = tl.multiple_of(positions, N_MULTIPLE)
    part, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    k = tl.arange(0, BLOCK_K)
    x += image * stride_b * X_MULTIPLE
    weights += image * codes * positions
    shift = tl.load(centre + c, mask=c < channels, other=0.0)
    total = tl.zeros((BLOCK_C, BLOCK_K), tl.float32)
    masses = tl.zeros((BLOCK_N, BLOCK_K), tl.float32)
    start = part * share
    for first in range(start, tl.minimum(start + share, positions), BLOCK_N):
        n = first + tl.arange(0, BLOCK_N)
        inside = (c < channels)[:, None] & (n < positions)[None, :]
        features = tl.load(
            x + _at(n[None, :], c[:, None], stride, LAST, X_MULTIPLE),
            mask=inside,
            other=0.0,
        )
        w = tl.load(
            weights + k.to(tl.int64)[None, :] * positions + n[:, None],
            mask=(n < positions)[:, None] & (k < codes)[None, :],
            other=0.0,
        )
        if HALF is None:
            masses += w
            total = _product(features - shift[:, None], w, total, 'tf32x3', INTERPRETED)
        elif HALF == tl.float16:  # noqa: SIM300
            level = _level(tl.max(tl.max(tl.abs(w), axis=1), axis=0), HALF)
            upper, lower = _split(w / level, HALF)
            products = tl.zeros((BLOCK_C, BLOCK_K), tl.float32)
            products = _product(features, upper, products, 'ieee', INTERPRETED)
            products = _product(features, lower, products, 'ieee', INTERPRETED)
            total += products * level
            masses += (upper.to(tl.float32) + lower.to(tl.float32)) * level
        else:
            upper, lower = _split(w, HALF)
            total = _product(features, upper, total, 'ieee', INTERPRETED)
            total = _product(features, lower, total, 'ieee', INTERPRETED)
            # The mass of the weights as they were multiplied: an offset of the features cancels.
            masses += upper.to(tl.float32) + lower.to(tl.float32)
    row = image * tl.num_programs(1) + part
    at = (row * codes + k[None, :]) * channels + c[:, None]
    tl.store(sums + at, total, mask=(c < channels)[:, None] & (k < codes)[None, :])
    if tl.program_id(0) == 0:
        tl.store(mass + row * codes + k, tl.sum(masses, axis=0), mask=k < codes)


@triton.jit
def _codeword(centre, centred, k, c, channels, HALF: tl.constexpr):
    """Return channels of a codeword as the features were in the sums, centred or not."""
    value = tl.load(centred + k * channels + c, mask=c < channels, other=0.0)
    if HALF is not None:
        value += tl.load(centre + c, mask=c < channels, other=0.0)
    return value


@triton.jit
def _total(sums, mass, first, rows, k, c, codes, channels, BLOCK_R: tl.constexpr):
    """Return the sums and the mass of one codeword, added over `rows` in a fixed order."""
    total = tl.zeros((BLOCK_R, c.shape[0]), tl.float32)
    masses = tl.zeros((BLOCK_R,), tl.float32)
    for start in range(0, rows, BLOCK_R):
        r = start + tl.arange(0, BLOCK_R)
        at = (first + r.to(tl.int64)) * codes + k
        inside = (r < rows)[:, None] & (c < channels)[None, :]
        total += tl.load(sums + at[:, None] * channels + c[None, :], mask=inside, other=0.0)
        masses += tl.load(mass + at, mask=r < rows, other=0.0)
    return tl.sum(total, axis=0), tl.sum(masses, axis=0)


@triton.jit
def finish_encoding(
    sums, mass, centre, centred, encoded, shares, codes, channels,
    HALF: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Add up the shares of one image: ``e_k = sum_i a_ik x_i - (sum_i a_ik) d_k``."""
    k, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    total, masses = _total(sums, mass, image * shares, shares, k, c, codes, channels, BLOCK_R)
    total -= masses * _codeword(centre, centred, k, c, channels, HALF)
    at = (image * codes + k) * channels + c
    tl.store(encoded + at, total.to(encoded.dtype.element_ty), mask=c < channels)


@triton.jit
def _rows(grad, codewords, k, c, codes, channels):
    inside = (k < codes)[:, None] & (c < channels)[None, :]
    at = k[:, None] * channels + c[None, :]
    g = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
    return g, tl.load(codewords + at, mask=inside, other=0.0)


@triton.jit
def differentiate(
    x, centre, codewords, grad, high, low, levels, offsets, scale, distances,
    grad_x, assigned, changes, masses, grad_scales,
    stride_b, stride, grad_stride_b, grad_stride, channels, positions, codes,
    NEGLIGIBLE: tl.constexpr,
    HALF: tl.constexpr, LAST: tl.constexpr, X_MULTIPLE: tl.constexpr, N_MULTIPLE: tl.constexpr,
    INTERPRETED: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Write the features' gradient of one tile, and ``q`` for the codewords' gradient."""
    if N_MULTIPLE > 1:
        positions = tl.multiple_of(positions, N_MULTIPLE)
    tile, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    n = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    x += image * stride_b * X_MULTIPLE
    grad += image * codes * channels
    change, _ = _project(
        x, centre, grad, high + image * codes * channels, low + image * codes * channels,
        levels + image * codes, n, k, stride, channels, positions, codes,
        False, HALF, LAST, X_MULTIPLE, INTERPRETED, BLOCK_K, BLOCK_N, BLOCK_C,
    )  # fmt: skip
    change -= tl.load(offsets + image * codes + k, mask=k < codes, other=0.0)[None, :]
    at = image * codes * positions + k.to(tl.int64)[None, :] * positions + n[:, None]
    inside = (n < positions)[:, None] & (k < codes)[None, :]
    r = tl.load(distances + at, mask=inside, other=0.0)
    s = tl.load(scale + k, mask=k < codes, other=0.0).to(tl.float32)
    weights = _weights(r, s, n, k, positions, codes, NEGLIGIBLE)
    # Subtracted twice, because rounding hides the small difference from the mean where weights are
    # saturated.
    change -= tl.sum(weights * change, axis=1)[:, None]
    change -= tl.sum(weights * change, axis=1)[:, None]
    change *= weights
    row = (image * codes + k) * tl.num_programs(0) + tile
    tl.store(masses + row, tl.sum(weights, axis=0), mask=k < codes)
    tl.store(grad_scales + row, tl.sum(change * r, axis=0), mask=k < codes)
    q = change * s[None, :]
    tl.store(changes + at, q, mask=inside)
    q = 2.0 * q
    factor = tl.sum(q, axis=1)
    if BLOCK_Q < BLOCK_K:
        # All codewords at once need more registers than there are.
        tl.store(assigned + at, weights, mask=inside)
        tl.debug_barrier()
    # One tf32 product resolves more than the half precision of the result.
    precision: tl.constexpr = 'tf32x3' if HALF is None else 'tf32'
    grad_x += image * grad_stride_b * X_MULTIPLE
    for first in range(0, channels, BLOCK_C):
        c = first + tl.arange(0, BLOCK_C)
        nc = (n < positions)[:, None] & (c < channels)[None, :]
        part = tl.load(
            x + _at(n[:, None], c[None, :], stride, LAST, X_MULTIPLE), mask=nc, other=0.0
        )
        shift = tl.load(centre + c, mask=c < channels, other=0.0)
        result = (part.to(tl.float32) - shift[None, :]) * factor[:, None]
        if BLOCK_Q < BLOCK_K:
            for first_k in range(0, codes, BLOCK_Q):
                some = first_k + tl.arange(0, BLOCK_Q)
                nk = (n < positions)[:, None] & (some < codes)[None, :]
                part_at = image * codes * positions + n[:, None]
                part_at += some.to(tl.int64)[None, :] * positions
                g, d = _rows(grad, codewords, some, c, codes, channels)
                w = tl.load(assigned + part_at, mask=nk, other=0.0)
                result = _product(w, g, result, precision, INTERPRETED)
                w = tl.load(changes + part_at, mask=nk, other=0.0)
                result = _product(-2.0 * w, d, result, precision, INTERPRETED)
        else:
            g, d = _rows(grad, codewords, k, c, codes, channels)
            result = _product(weights, g, result, precision, INTERPRETED)
            result = _product(-q, d, result, precision, INTERPRETED)
        tl.store(
            grad_x + _at(n[:, None], c[None, :], grad_stride, LAST, X_MULTIPLE),
            result.to(grad_x.dtype.element_ty),
            mask=nc,
        )


@triton.jit
def _add_tiles(values, tiles, BLOCK_T: tl.constexpr):
    total = tl.zeros((BLOCK_T,), tl.float32)
    for start in range(0, tiles, BLOCK_T):
        t = start + tl.arange(0, BLOCK_T)
        total += tl.load(values + t, mask=t < tiles, other=0.0)
    return tl.sum(total, axis=0)


@triton.jit
def finish_gradients(
    sums, mass, centre, centred, grad, masses, grad_scales, grad_codewords, grad_scale,
    images, shares, tiles, codes, channels,
    HALF: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Add up shares and tiles: ``dd_k = sum_i -a_ik g_k - 2 q_ik (x_i - d_k)``."""
    k = tl.program_id(1)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    total, q_mass = _total(sums, mass, 0, images * shares, k, c, codes, channels, BLOCK_R)
    total = 2.0 * (q_mass * _codeword(centre, centred, k, c, channels, HALF) - total)
    scale_total = 0.0
    for image in range(0, images):
        row = (image * codes + k).to(tl.int64)
        g = tl.load(grad + row * channels + c, mask=c < channels, other=0.0).to(tl.float32)
        total -= _add_tiles(masses + row * tiles, tiles, BLOCK_T) * g
        scale_total += _add_tiles(grad_scales + row * tiles, tiles, BLOCK_T)
    at = k * channels + c
    tl.store(grad_codewords + at, total.to(grad_codewords.dtype.element_ty), mask=c < channels)
    if tl.program_id(0) == 0:
        tl.store(grad_scale + k, scale_total)
