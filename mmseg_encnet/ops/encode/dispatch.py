"""The public entry of the encoding operator."""

from __future__ import annotations

from torch import Tensor

from mmseg_encnet.ops.encode.backends import AUTOMATIC, BACKENDS
from mmseg_encnet.ops.numerics import without_autocast
from mmseg_encnet.ops.shapes import check_dictionary


def encode(x: Tensor, codewords: Tensor, scale: Tensor, backend: str = 'auto') -> Tensor:
    """Encode features as residuals to a dictionary of codewords, summed over the positions.

    ``e_k = sum_i a_ik (x_i - d_k)`` with ``a_ik = softmax_k(s_k |x_i - d_k|^2)`` (Context Encoding
    for Semantic Segmentation, section 2.1, equations 1 and 2; the minus sign is inside the
    smoothing factors).

    Precision. The computation runs in at least single precision, under autocast too. In single
    precision the result and all gradients are within 1e-5 of double precision (largest difference
    over largest value), tested on features after a ReLU with magnitudes from 1e-38 to 1e18 and
    smoothing factors from -1e3 to 1e3. Where rounding makes the literal formula less accurate than
    1e-6 (nearly equal logits at large smoothing factors, or an offset that features and codewords
    share), the error is at most ten times that of the literal formula.

    Range. On the CPU, finite inputs whose squared distances overflow single precision are computed
    in double precision. On a GPU, where checking would synchronise with the host, the encoding of
    such an image is NaN. A NaN or infinite feature makes the whole encoding of its image NaN and
    leaves the other images alone; NaN or infinite codewords make it NaN for all images.

    Args:
        x: Features, ``(B, C, H, W)`` or ``(B, C, N)``, any floating dtype and memory layout; B, H
            and W may be 0.
        codewords: ``(K, C)``, floating.
        scale: Smoothing factors, ``(K,)``, floating.
        backend: ``'native'`` (fused kernels for float32 on the CPU, built at installation),
            ``'dense'`` (matrix products, every device), ``'triton'`` (fused kernels for CUDA, up to
            128 codewords), ``'mmcv'`` (the sum through ``mmcv.ops.assign_score_withk``, CUDA),
            ``'reference'`` (the equations literally; slow, large, and without the guarantees above)
            or ``'auto'``: on the CPU ``'native'`` where available, otherwise ``'dense'``; on a GPU
            the faster of ``'dense'`` and ``'triton'``, timed at the first call with inputs of a
            class (see ``MMSEG_ENCNET_BACKEND`` in :mod:`mmseg_encnet.ops.auto`).

    Returns:
        ``(B, K, C)`` in the promoted dtype of ``x`` and ``codewords``; differentiable in all three
        tensors, any number of times.

    Raises:
        ValueError: A shape or dtype does not match, or the backend is unknown, not available on
            this machine or does not take such tensors.

    Example:
        >>> import torch
        >>> from mmseg_encnet.ops import encode
        >>> x = torch.rand(2, 64, 30, 30)
        >>> codewords, scale = torch.zeros(8, 64), -torch.rand(8)
        >>> encode(x, codewords, scale).shape
        torch.Size([2, 8, 64])
    """
    features = check_dictionary(x, codewords, scale)
    tensors = features, codewords, scale
    if backend == 'auto':
        run = AUTOMATIC.run_for(*tensors)
    else:
        run = BACKENDS.choose(backend, *tensors).run
    with without_autocast(x.device):
        return run(*tensors)
