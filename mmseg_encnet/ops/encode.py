"""The public entry of the encoding operator."""

from __future__ import annotations

from torch import Tensor

from mmseg_encnet.ops import dense, reference

_BACKENDS = {'dense': dense.encode, 'reference': reference.encode}


def _check(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    if x.dim() not in (3, 4):
        raise ValueError(
            f'x has shape {tuple(x.shape)}, expected (B, C, H, W) or (B, C, N); '
            'add the missing dimensions.'
        )
    if codewords.dim() != 2 or codewords.shape[1] != x.shape[1]:
        raise ValueError(
            f'codewords have shape {tuple(codewords.shape)}, expected (K, {x.shape[1]}); '
            'build them for as many channels as x has.'
        )
    if scale.shape != codewords.shape[:1]:
        raise ValueError(
            f'scale has shape {tuple(scale.shape)}, expected ({codewords.shape[0]},); '
            'give one smoothing factor per codeword.'
        )
    return x.flatten(2)


def encode(x: Tensor, codewords: Tensor, scale: Tensor, backend: str = 'auto') -> Tensor:
    """Encode features as residuals to a dictionary of codewords, summed over the positions.

    Args:
        x: Features, ``(B, C, H, W)`` or ``(B, C, N)``, floating point.
        codewords: ``(K, C)``.
        scale: Smoothing factors, ``(K,)``.
        backend: ``'auto'``, ``'dense'`` or ``'reference'``.

    Returns:
        ``(B, K, C)``, differentiable in all three tensors.

    Raises:
        ValueError: A shape does not fit or the backend is unknown.
    """
    if backend != 'auto' and backend not in _BACKENDS:
        raise ValueError(
            f"backend is {backend!r}, expected one of {['auto', *_BACKENDS]}; name one of these."
        )
    features = _check(x, codewords, scale)
    return _BACKENDS['dense' if backend == 'auto' else backend](features, codewords, scale)


def assign(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    """Soft-assignment weights of every position, for pictures and statistics.

    Args:
        x: Features, ``(B, C, H, W)`` or ``(B, C, N)``, floating point.
        codewords: ``(K, C)``.
        scale: Smoothing factors, ``(K,)``.

    Returns:
        ``(B, K, N)``; sums to one over the codewords.

    Raises:
        ValueError: A shape does not fit.
    """
    return dense.assign(_check(x, codewords, scale), codewords, scale)
