"""The Triton kernels of the encoding; the package docstring describes them."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _load_centred(x, centre, c, n, stride_c, stride_n, channels, positions):
    inside = (c < channels)[:, None] & (n < positions)[None, :]
    values = tl.load(
        x + c.to(tl.int64)[:, None] * stride_c + n.to(tl.int64)[None, :] * stride_n,
        mask=inside,
        other=0.0,
    ).to(tl.float32)
    shift = tl.load(centre + c, mask=c < channels, other=0.0)
    return tl.where(inside, values - shift[:, None], 0.0)


@triton.jit
def _weights(distances, scale, k, n, codes, positions, NEGLIGIBLE: tl.constexpr):
    logits = tl.where((k < codes)[:, None], distances * scale[:, None], float('-inf'))
    # Subtracted twice: product and difference may be contracted to a fused multiply-add, after
    # which the largest logit differs from zero by its own rounding error. The second difference
    # has no product to be fused with.
    logits -= tl.max(logits, axis=0)[None, :]
    weights = tl.exp(logits - tl.max(logits, axis=0)[None, :])
    weights = weights / tl.sum(weights, axis=0)[None, :]
    # The negated comparison preserves NaN.
    return tl.where((n < positions)[None, :] & ~(weights <= NEGLIGIBLE), weights, 0.0)


@triton.jit
def _add_to(pointers, mask, values):
    # Only this program uses the buffer; the barrier keeps its own threads in step.
    tl.store(pointers, tl.load(pointers, mask=mask, other=0.0) + values, mask=mask)
    tl.debug_barrier()


@triton.jit
def forward(
    x, centre, codewords, norms, scale, distances, sums, mass,
    stride_b, stride_c, stride_n, channels, positions, codes,
    KEEP: tl.constexpr, NEGLIGIBLE: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    image, share, shares = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    x += image.to(tl.int64) * stride_b
    distances += image.to(tl.int64) * codes * positions
    row = image.to(tl.int64) * shares + share
    sums += row * codes * channels
    k = tl.arange(0, BLOCK_K)
    s = tl.load(scale + k, mask=k < codes, other=0.0)
    norm = tl.load(norms + k, mask=k < codes, other=0.0)
    total = tl.zeros((BLOCK_K,), tl.float32)
    for start in range(share * BLOCK_N, positions, shares * BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        inner = tl.zeros((BLOCK_K, BLOCK_N), tl.float32)
        squares = tl.zeros((BLOCK_N,), tl.float32)
        for first in range(0, channels, BLOCK_C):
            c = first + tl.arange(0, BLOCK_C)
            kc = (k < codes)[:, None] & (c < channels)[None, :]
            at = k[:, None] * channels + c[None, :]
            part = _load_centred(x, centre, c, n, stride_c, stride_n, channels, positions)
            d = tl.load(codewords + at, mask=kc, other=0.0)
            inner += tl.dot(d, part, input_precision='ieee')
            squares += tl.sum(part * part, axis=0)
        r = squares[None, :] - 2.0 * inner + norm[:, None]
        if KEEP:
            tl.store(
                distances + k.to(tl.int64)[:, None] * positions + n[None, :],
                r,
                mask=(k < codes)[:, None] & (n < positions)[None, :],
            )
        weights = _weights(r, s, k, n, codes, positions, NEGLIGIBLE)
        total += tl.sum(weights, axis=1)
        for first in range(0, channels, BLOCK_C):
            c = first + tl.arange(0, BLOCK_C)
            kc = (k < codes)[:, None] & (c < channels)[None, :]
            at = k[:, None] * channels + c[None, :]
            part = _load_centred(x, centre, c, n, stride_c, stride_n, channels, positions)
            _add_to(sums + at, kc, tl.dot(weights, tl.trans(part), input_precision='ieee'))
    tl.store(mass + row * codes + k, total, mask=k < codes)


@triton.jit
def backward(
    grad, x, centre, codewords, offsets, scale, distances,
    grad_x, sums, mass, q_mass, grad_scale,
    stride_b, stride_c, stride_n, grad_stride_b, grad_stride_c, grad_stride_n,
    channels, positions, codes,
    NEGLIGIBLE: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    image, share, shares = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    x += image.to(tl.int64) * stride_b
    distances += image.to(tl.int64) * codes * positions
    grad_x += image.to(tl.int64) * grad_stride_b
    grad += image.to(tl.int64) * codes * channels
    row = image.to(tl.int64) * shares + share
    sums += row * codes * channels
    k = tl.arange(0, BLOCK_K)
    s = tl.load(scale + k, mask=k < codes, other=0.0)
    offset = tl.load(offsets + image * codes + k, mask=k < codes, other=0.0)
    total = tl.zeros((BLOCK_K,), tl.float32)
    q_total = tl.zeros((BLOCK_K,), tl.float32)
    scale_total = tl.zeros((BLOCK_K,), tl.float32)
    for start in range(share * BLOCK_N, positions, shares * BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        r = tl.load(
            distances + k.to(tl.int64)[:, None] * positions + n[None, :],
            mask=(k < codes)[:, None] & (n < positions)[None, :],
            other=0.0,
        )
        weights = _weights(r, s, k, n, codes, positions, NEGLIGIBLE)
        change = tl.zeros((BLOCK_K, BLOCK_N), tl.float32)
        for first in range(0, channels, BLOCK_C):
            c = first + tl.arange(0, BLOCK_C)
            kc = (k < codes)[:, None] & (c < channels)[None, :]
            at = k[:, None] * channels + c[None, :]
            part = _load_centred(x, centre, c, n, stride_c, stride_n, channels, positions)
            g = tl.load(grad + at, mask=kc, other=0.0)
            change += tl.dot(g, part, input_precision='ieee')
        change -= offset[:, None]
        # Subtracted twice, because rounding hides the small difference from the mean where weights
        # are saturated.
        change -= tl.sum(weights * change, axis=0)[None, :]
        change -= tl.sum(weights * change, axis=0)[None, :]
        change *= weights
        q = change * s[:, None]
        q_sum = tl.sum(q, axis=0)
        total += tl.sum(weights, axis=1)
        q_total += tl.sum(q, axis=1)
        scale_total += tl.sum(change * r, axis=1)
        for first in range(0, channels, BLOCK_C):
            c = first + tl.arange(0, BLOCK_C)
            kc = (k < codes)[:, None] & (c < channels)[None, :]
            at = k[:, None] * channels + c[None, :]
            part = _load_centred(x, centre, c, n, stride_c, stride_n, channels, positions)
            g = tl.load(grad + at, mask=kc, other=0.0)
            d = tl.load(codewords + at, mask=kc, other=0.0)
            _add_to(sums + at, kc, tl.dot(q, tl.trans(part), input_precision='ieee'))
            result = 2.0 * part * q_sum[None, :]
            result += tl.dot(tl.trans(g), weights, input_precision='ieee')
            result -= 2.0 * tl.dot(tl.trans(d), q, input_precision='ieee')
            at = c.to(tl.int64)[:, None] * grad_stride_c + n.to(tl.int64)[None, :] * grad_stride_n
            tl.store(
                grad_x + at,
                result.to(grad_x.dtype.element_ty),
                mask=(c < channels)[:, None] & (n < positions)[None, :],
            )
    tl.store(mass + row * codes + k, total, mask=k < codes)
    tl.store(q_mass + row * codes + k, q_total, mask=k < codes)
    tl.store(grad_scale + row * codes + k, scale_total, mask=k < codes)
