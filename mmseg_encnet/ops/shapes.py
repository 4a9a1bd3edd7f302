"""Shape checks that the operators share."""

from __future__ import annotations

from torch import Tensor


def check_dictionary(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    """Check the inputs of an encoding and return the features as ``(B, C, N)``.

    Raises:
        ValueError: A shape or dtype does not match.
    """
    if x.dim() not in (3, 4) or not x.is_floating_point():
        raise ValueError(
            f'got x of dtype {x.dtype} and shape {tuple(x.shape)}, expected floating-point '
            '(B, C, H, W) or (B, C, N); pass a feature map.'
        )
    if codewords.dim() != 2 or codewords.shape[0] == 0 or codewords.shape[1] != x.shape[1]:
        raise ValueError(
            f'got codewords of shape {tuple(codewords.shape)}, expected (K, {x.shape[1]}) with '
            'K >= 1; give every codeword as many channels as x has.'
        )
    if scale.shape != codewords.shape[:1]:
        raise ValueError(
            f'got scale of shape {tuple(scale.shape)}, expected ({codewords.shape[0]},); '
            'pass one smoothing factor per codeword.'
        )
    return x.flatten(2) if x.dim() == 4 else x
