"""The encoding as one fused kernel forward and one backward, for CUDA.

A program takes a share of an image's positions, a tile at a time. It reads the tile's features
channel block by channel block to get their distances to all codewords, takes the softmax on the
chip, and goes over the tile once more for the sums. That second look, right after the first, is
meant for the cache, so that the features cross the memory bus once. Backward does the same. The
distances are written out only where backward will ask for them. Sums over the positions go to one
small buffer per program; the buffers are added up afterwards in a fixed order, without atomics, so
results repeat bit for bit. For the arithmetic and its precision see `dense`; features and codewords
are always centred here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmseg_encnet.ops.operator import make_encode
from mmseg_encnet.ops.plain import result_dtype

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

AVAILABLE = triton is not None

if AVAILABLE:

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
    def _weights(distances, scale, k, n, codes, positions):
        logits = tl.where((k < codes)[:, None], distances * scale[:, None], float('-inf'))
        weights = tl.exp(logits - tl.max(logits, axis=0)[None, :])
        weights = weights / tl.sum(weights, axis=0)[None, :]
        return tl.where((n < positions)[None, :] & (weights > 1e-20), weights, 0.0)

    @triton.jit
    def _add_to(pointers, mask, values):
        # Only this program uses the buffer; the barrier keeps its own threads in step.
        tl.store(pointers, tl.load(pointers, mask=mask, other=0.0) + values, mask=mask)
        tl.debug_barrier()

    @triton.jit
    def _forward_kernel(
        x, centre, codewords, norms, scale, distances, sums, mass,
        stride_b, stride_c, stride_n, channels, positions, codes,
        KEEP: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr,
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
            weights = _weights(r, s, k, n, codes, positions)
            total += tl.sum(weights, axis=1)
            for first in range(0, channels, BLOCK_C):
                c = first + tl.arange(0, BLOCK_C)
                kc = (k < codes)[:, None] & (c < channels)[None, :]
                at = k[:, None] * channels + c[None, :]
                part = _load_centred(x, centre, c, n, stride_c, stride_n, channels, positions)
                _add_to(sums + at, kc, tl.dot(weights, tl.trans(part), input_precision='ieee'))
        tl.store(mass + row * codes + k, total, mask=k < codes)

    @triton.jit
    def _backward_kernel(
        grad, x, centre, codewords, offsets, scale, distances,
        grad_x, sums, mass, q_mass, grad_scale,
        stride_b, stride_c, stride_n, grad_stride_b, grad_stride_c, grad_stride_n,
        channels, positions, codes,
        BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr,
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
            weights = _weights(r, s, k, n, codes, positions)
            change = tl.zeros((BLOCK_K, BLOCK_N), tl.float32)
            for first in range(0, channels, BLOCK_C):
                c = first + tl.arange(0, BLOCK_C)
                kc = (k < codes)[:, None] & (c < channels)[None, :]
                at = k[:, None] * channels + c[None, :]
                part = _load_centred(x, centre, c, n, stride_c, stride_n, channels, positions)
                g = tl.load(grad + at, mask=kc, other=0.0)
                change += tl.dot(g, part, input_precision='ieee')
            change -= offset[:, None]
            # Twice, because rounding hides the small difference to the mean of saturated weights.
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
                at = (
                    c.to(tl.int64)[:, None] * grad_stride_c
                    + n.to(tl.int64)[None, :] * grad_stride_n
                )
                tl.store(
                    grad_x + at,
                    result.to(grad_x.dtype.element_ty),
                    mask=(c < channels)[:, None] & (n < positions)[None, :],
                )
        tl.store(mass + row * codes + k, total, mask=k < codes)
        tl.store(q_mass + row * codes + k, q_total, mask=k < codes)
        tl.store(grad_scale + row * codes + k, scale_total, mask=k < codes)


def _blocks(codes: int) -> dict[str, int]:
    # Tensor-core products want no side under 16.
    size = max(16, triton.next_power_of_2(codes))
    return {'BLOCK_K': size, 'BLOCK_N': 64 if size <= 64 else 32, 'BLOCK_C': 32}


def _shares(x: Tensor, block: int) -> int:
    """Programs per image: enough to fill the device, no more than there are tiles."""
    batch, _, positions = x.shape
    units = torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 4
    return max(1, min(triton.cdiv(positions, block), triton.cdiv(2 * units, batch)))


def _dictionary(codewords: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    codewords = codewords.float()
    centre = codewords.mean(dim=0)
    return centre, (codewords - centre).contiguous(), scale.float().contiguous()


def _forward(x: Tensor, codewords: Tensor, scale: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    batch, channels, positions = x.shape
    codes, dtype = codewords.shape[0], result_dtype(x, codewords)
    distances = x.new_empty((batch, codes, positions) if keep else 0, dtype=torch.float32)
    if x.numel() == 0:
        return x.new_zeros((batch, codes, channels), dtype=dtype), distances
    centre, codewords, scale = _dictionary(codewords, scale)
    norms = codewords.double().square().sum(dim=1).float()
    blocks = _blocks(codes)
    shares = _shares(x, blocks['BLOCK_N'])
    sums = x.new_zeros((batch, shares, codes, channels), dtype=torch.float32)
    mass = x.new_empty((batch, shares, codes), dtype=torch.float32)
    _forward_kernel[(batch, shares)](
        x, centre, codewords, norms, scale, distances, sums, mass,
        *x.stride(), channels, positions, codes, KEEP=keep, **blocks,
    )  # fmt: skip
    return (sums.sum(dim=1) - mass.sum(dim=1)[:, :, None] * codewords).to(dtype), distances


def _backward(
    grad: Tensor, x: Tensor, codewords: Tensor, scale: Tensor, distances: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    batch, channels, positions = x.shape
    codes = codewords.shape[0]
    grad_x = torch.empty_like(x)
    if x.numel() == 0:
        return grad_x, torch.zeros_like(codewords), torch.zeros_like(scale)
    codewords_dtype, scale_dtype = codewords.dtype, scale.dtype
    centre, codewords, scale = _dictionary(codewords, scale)
    grad = grad.float().contiguous()
    offsets = (grad.double() * codewords).sum(dim=2).float()
    blocks = _blocks(codes)
    shares = _shares(x, blocks['BLOCK_N'])
    sums = x.new_zeros((batch, shares, codes, channels), dtype=torch.float32)
    mass, q_mass, grad_scale = x.new_empty((3, batch, shares, codes), dtype=torch.float32)
    _backward_kernel[(batch, shares)](
        grad, x, centre, codewords, offsets, scale, distances,
        grad_x, sums, mass, q_mass, grad_scale,
        *x.stride(), *grad_x.stride(), channels, positions, codes, **blocks,
    )  # fmt: skip
    grad_codewords = 2 * (q_mass.sum(dim=(0, 1))[:, None] * codewords - sums.sum(dim=(0, 1))) - (
        mass.sum(dim=1)[:, :, None] * grad
    ).sum(dim=0)
    return grad_x, grad_codewords.to(codewords_dtype), grad_scale.sum(dim=(0, 1)).to(scale_dtype)


_fused = make_encode('encode_triton', _forward, _backward)


def encode(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    """Encoding, ``(B, K, C)``, of features ``(B, C, N)``, computed in float32.

    Raises:
        RuntimeError: Triton is not installed.
        ValueError: The tensors are float64 or on a device that Triton does not run on.
    """
    if not AVAILABLE:
        raise RuntimeError(
            "backend is 'triton' but the package triton is not installed; run `pip install triton` "
            "or use backend='dense'."
        )
    if x.dtype == torch.float64 or codewords.dtype == torch.float64:
        raise ValueError(
            f"backend is 'triton', which computes in float32, but x is {x.dtype} and codewords are "
            f"{codewords.dtype}; use backend='dense' for double precision."
        )
    if not x.is_cuda and isinstance(_forward_kernel, triton.JITFunction):
        raise ValueError(
            f"backend is 'triton', which runs on CUDA, but x is on device '{x.device}'; move x "
            "to a GPU or use backend='dense'."
        )
    return _fused(x, codewords, scale)
