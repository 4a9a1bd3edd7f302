"""The encoding's weighted sum through mmcv's CUDA operator ``assign_score_withk``.

The operator was written for point clouds::

    out[b, o, i, j] = sum_m scores[b, i, j, m] * (points[b, n, m, o] - centres[b, n0, m, o])

with ``n = index[b, i, j]`` and ``n0 = index[b, i, 0]``. With a single point whose weight bank holds
the features of all N positions (m runs over them), the codewords as query points (i), zero centres
and index 0 everywhere, that is ``sum_n a_kn x_n``, and nothing of size ``B * N * K * C`` is formed.
It asks for positions before channels and for a tensor of centres: two copies of the features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmseg_encnet.ops.plain import centred_assignment, result_dtype


def _load_operator(device: torch.device) -> Callable[..., Tensor]:
    try:
        from mmcv.ops import assign_score_withk
    except (ImportError, AssertionError) as error:
        raise RuntimeError(
            f"backend is 'mmcv' but mmcv's compiled operators are missing ({error}); install torch "
            'first, then run `pip install --no-cache-dir --no-build-isolation onedl-mmcv`.'
        ) from error
    if device.type != 'cuda':
        raise ValueError(
            f"backend is 'mmcv' but x is on device '{device}', expected CUDA, for which alone mmcv "
            "has the operator; move x to a GPU or use backend='dense'."
        )
    return assign_score_withk


def encode(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    """Encoding, ``(B, K, C)``, of features ``(B, C, N)``.

    Raises:
        RuntimeError: mmcv has no compiled operators.
        ValueError: ``x`` is not on a CUDA device.
    """
    assign_score_withk = _load_operator(x.device)
    dtype = result_dtype(x, codewords)
    x, codewords, weights = centred_assignment(x, codewords, scale)
    points = x.transpose(1, 2).unsqueeze(1).contiguous()
    index = torch.zeros(weights.shape[:2], dtype=torch.long, device=x.device).unsqueeze(2)
    sums = assign_score_withk(weights.unsqueeze(2), points, torch.zeros_like(points), index, 'sum')
    encoded = sums.squeeze(3).transpose(1, 2) - weights.sum(dim=2, keepdim=True) * codewords
    return encoded.to(dtype)
