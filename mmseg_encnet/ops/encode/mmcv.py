"""The encoding's weighted sum through mmcv's CUDA operator ``assign_score_withk``.

The operator was written for point clouds::

    out[b, o, i, j] = sum_m scores[b, i, j, m] * (points[b, n, m, o] - centres[b, n0, m, o])

with ``n = index[b, i, j]`` and ``n0 = index[b, i, 0]``. With a single point whose weight bank holds
the features of all N positions (m runs over them), the codewords as query points (i), zero centres
and index 0 everywhere, this equals ``sum_n a_kn x_n``, and no tensor of size ``B * N * K * C`` is
formed.
It expects positions before channels, and a tensor of centres: two copies of the features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmseg_encnet.ops.encode.traceable import centred_assignment
from mmseg_encnet.ops.numerics import result_dtype


def _operator() -> Callable[..., Tensor]:
    from mmcv.ops import assign_score_withk

    return assign_score_withk


def refusal(*tensors: Tensor) -> str | None:
    """Return why the operator is not available, or why it does not take these tensors."""
    try:
        _operator()
    except (ImportError, AssertionError) as error:
        return (
            f"mmcv's compiled operators are missing ({error}); with torch installed, build them "
            'with `pip install --no-cache-dir --no-build-isolation onedl-mmcv`'
        )
    if any(tensor.device.type != 'cuda' for tensor in tensors):
        return (
            f'mmcv has this operator for CUDA only, got x on {tensors[0].device}; move it to a GPU'
        )
    if not tensors and not torch.cuda.is_available():
        return 'mmcv has this operator for CUDA only, and this machine has none; use one with a GPU'
    return None


def encode(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    """Return the encoding ``(B, K, C)`` of features ``(B, C, N)`` on a CUDA device."""
    dtype = result_dtype(x, codewords)
    x, codewords, weights = centred_assignment(x, codewords, scale)
    points = x.transpose(1, 2).unsqueeze(1).contiguous()
    index = torch.zeros(weights.shape[:2], dtype=torch.long, device=x.device).unsqueeze(2)
    sums = _operator()(weights.unsqueeze(2), points, torch.zeros_like(points), index, 'sum')
    encoded = sums.squeeze(3).transpose(1, 2) - weights.sum(dim=2, keepdim=True) * codewords
    return encoded.to(dtype)
