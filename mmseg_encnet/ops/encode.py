"""The public entry of the encoding operator."""

from __future__ import annotations

import torch
from torch import Tensor

from mmseg_encnet.ops import (
    dense,
    mmcv_backend,
    native_backend,
    reference,
    triton_kernels,
)
from mmseg_encnet.ops.distances import squared_distances

BACKENDS = {
    'native': native_backend.encode,
    'dense': dense.encode,
    'triton': triton_kernels.encode,
    'mmcv': mmcv_backend.encode,
    'reference': reference.encode,
}


def _fastest(x: Tensor, codewords: Tensor, scale: Tensor) -> str:
    """The fastest backend that the benchmark has measured and that takes these tensors.

    It has run on CPUs only, and a backend that nobody has timed on a device is not chosen there.
    """
    return 'native' if native_backend.takes(x, codewords, scale) else 'dense'


def _features(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    """Check the shapes and view the features as ``(B, C, N)``."""
    if x.dim() not in (3, 4) or not x.is_floating_point():
        raise ValueError(
            f'x is {x.dtype} of shape {tuple(x.shape)}, expected floating-point (B, C, H, W) or '
            '(B, C, N); pass a feature map.'
        )
    if codewords.dim() != 2 or codewords.shape[0] == 0 or codewords.shape[1] != x.shape[1]:
        raise ValueError(
            f'codewords have shape {tuple(codewords.shape)}, expected (K, {x.shape[1]}) with K of '
            'at least 1; give every codeword as many channels as x has.'
        )
    if scale.shape != codewords.shape[:1]:
        raise ValueError(
            f'scale has shape {tuple(scale.shape)}, expected ({codewords.shape[0]},); '
            'give one smoothing factor per codeword.'
        )
    return x.flatten(2) if x.dim() == 4 else x


def encode(x: Tensor, codewords: Tensor, scale: Tensor, backend: str = 'auto') -> Tensor:
    """Encode features as residuals to a dictionary of codewords, summed over the positions.

    ``e_k = sum_i a_ik (x_i - d_k)`` with ``a_ik = softmax_k(s_k |x_i - d_k|^2)`` (Context Encoding
    for Semantic Segmentation, section 2.1, equations 1 and 2; the minus sign is inside the
    smoothing factors).

    The computation runs in at least single precision, under autocast too. In single precision the
    result and all gradients are within 1e-5 of double precision (largest difference over largest
    value) on features after a ReLU, and within ten times the error of the literal formula where
    features and codewords share an offset of 10 or 100 times their spread.

    Args:
        x: Features, ``(B, C, H, W)`` or ``(B, C, N)``, any floating dtype and memory layout; B, H
            and W may be 0.
        codewords: ``(K, C)``, floating.
        scale: Smoothing factors, ``(K,)``, floating.
        backend: ``'native'`` (fused kernels for float32 on the CPU, built at installation),
            ``'dense'`` (matrix products, every device), ``'triton'`` (fused kernels for CUDA),
            ``'mmcv'`` (the sum through ``mmcv.ops.assign_score_withk``, CUDA), ``'reference'``
            (the equations literally; slow and large) or ``'auto'`` (the fastest that the benchmark
            has measured: ``'native'`` where it can be had, else ``'dense'``).

    Returns:
        ``(B, K, C)`` in the promoted dtype of ``x`` and ``codewords``; differentiable in all three
        tensors.

    Raises:
        ValueError: A shape or dtype does not fit, the backend is unknown or does not take such
            tensors.
        RuntimeError: What the backend needs is not installed.
    """
    if backend != 'auto' and backend not in BACKENDS:
        raise ValueError(
            f'backend is {backend!r}, expected one of {", ".join(("auto", *BACKENDS))}; '
            'name one of these.'
        )
    features = _features(x, codewords, scale)
    run = BACKENDS[_fastest(x, codewords, scale) if backend == 'auto' else backend]
    if torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return run(features, codewords, scale)
    return run(features, codewords, scale)


def assign(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    """Soft-assignment weights of every position, for pictures and statistics (equation 2).

    Args:
        x: Features, ``(B, C, H, W)`` or ``(B, C, N)``, any floating dtype.
        codewords: ``(K, C)``, floating.
        scale: Smoothing factors, ``(K,)``, floating.

    Returns:
        ``(B, K, N)`` in at least single precision; sums to one over the codewords. Differentiable.

    Raises:
        ValueError: A shape or dtype does not fit.
    """
    features = _features(x, codewords, scale)
    if torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return _weights(features, codewords, scale)
    return _weights(features, codewords, scale)


def _weights(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    distances = squared_distances(x, codewords)
    return (scale.to(distances.dtype)[:, None] * distances).softmax(dim=1)
