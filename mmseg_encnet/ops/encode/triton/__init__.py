"""The encoding as one fused kernel forward and one backward, for CUDA.

A program processes a share of an image's positions, one tile at a time. It reads the features of
the tile one block of channels at a time to compute their distances to all codewords, takes the
softmax on the chip, and reads the tile once more for the sums. The second read should hit the
cache, so the features cross the memory bus once. Backward does the same. The distances are
stored only if backward needs them. Sums over the positions go to one small buffer per program; the
buffers are added up afterwards in a fixed order, without atomics, so results are bitwise
reproducible. For the arithmetic and its precision see `dense`; features and codewords
are always centred here.
"""

from __future__ import annotations

import importlib.util
import os

import torch
from torch import Tensor

from mmseg_encnet.ops.encode.operator import make_encode
from mmseg_encnet.ops.numerics import NEGLIGIBLE, result_dtype


def refusal(*tensors: Tensor) -> str | None:
    """Return why the kernels cannot run on this machine, or why they do not take these tensors."""
    if importlib.util.find_spec('triton') is None:
        return 'the package triton is not installed; run `pip install triton`'
    # The interpreter runs kernels on the CPU, slowly, to test their arithmetic.
    interpreted = os.environ.get('TRITON_INTERPRET') == '1'
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


def _blocks(codes: int) -> dict[str, int]:
    # Tensor-core products need every side to be at least 16.
    size = max(16, 1 << (codes - 1).bit_length())
    return {'BLOCK_K': size, 'BLOCK_N': 64 if size <= 64 else 32, 'BLOCK_C': 32}


def _shares(x: Tensor, block: int) -> int:
    """Return the programs per image: enough to fill the device, at most one per tile."""
    batch, _, positions = x.shape
    units = torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 4
    return max(1, min(-(-positions // block), -(-2 * units // batch)))


def _dictionary(codewords: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    codewords = codewords.float()
    centre = codewords.mean(dim=0)
    return centre, (codewords - centre).contiguous(), scale.float().contiguous()


def _kernels():
    # Importing triton takes as long as the rest of the package.
    from mmseg_encnet.ops.encode.triton import kernels

    return kernels


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
    _kernels().forward[(batch, shares)](
        x, centre, codewords, norms, scale, distances, sums, mass,
        *x.stride(), channels, positions, codes, KEEP=keep, NEGLIGIBLE=NEGLIGIBLE,
        **blocks,
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
    _kernels().backward[(batch, shares)](
        grad, x, centre, codewords, offsets, scale, distances,
        grad_x, sums, mass, q_mass, grad_scale,
        *x.stride(), *grad_x.stride(), channels, positions, codes, NEGLIGIBLE=NEGLIGIBLE,
        **blocks,
    )  # fmt: skip
    grad_codewords = 2 * (q_mass.sum(dim=(0, 1))[:, None] * codewords - sums.sum(dim=(0, 1))) - (
        mass.sum(dim=1)[:, :, None] * grad
    ).sum(dim=0)
    return grad_x, grad_codewords.to(codewords_dtype), grad_scale.sum(dim=(0, 1)).to(scale_dtype)


encode = make_encode('encode_triton', _forward, _backward)
