"""The encoding as matrix products: the backend that runs everywhere, in every precision.

The paper's equations hold a residual for every position, codeword and channel. Expanding the
square, ``|x_i - d_k|^2 = |x_i|^2 - 2 x_i.d_k + |d_k|^2``, and the sum,
``e_k = sum_i a_ik x_i - (sum_i a_ik) d_k``, leaves two matrix products forward and four backward,
and only the ``(B, K, N)`` distances are kept between them.

Precision. Expanding a square loses digits where ``|x_i|`` and ``|d_k|`` are large against
``|x_i - d_k|``. Residuals do not change when features and codewords move together, so if the
codewords share an offset ``c`` (their mean) that is large against their spread, ``c`` is
subtracted from both first. A distance is then off by at most a small multiple of
``4 eps (|x_i - c| + |d_k - c|)^2``, regardless of the common offset. All arithmetic is in at least
single precision, regardless of the dtype of the inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from mmseg_encnet.ops.encode.operator import make_encode
from mmseg_encnet.ops.encode.overflow import retry_in_double
from mmseg_encnet.ops.numerics import (
    NEGLIGIBLE,
    SMALLEST_LOGIT,
    compute_dtype,
    exact_inner,
    result_dtype,
    shared_offset,
    squared_norms,
    without_autocast,
)

# Elements of scratch memory per step. On the CPU a step must stay in the cache; elsewhere a few
# long steps are faster, up to a fifth of the features.
_SCRATCH_CPU = 3 * 2**17
_SCRATCH_SHARE = 5
# The product that writes the features' gradient takes twice as long on the CPU where steps do not
# start on a cache line.
_STEP_MULTIPLE = 64
# Channels whose squares are held in memory at a time.
_NORM_CHANNELS = 32


def _steps(x: Tensor, per_position: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices of images and positions whose scratch memory stays within its bound."""
    batch, _, positions = x.shape
    scratch = _SCRATCH_CPU
    if x.device.type != 'cpu':
        scratch = max(scratch, x.numel() // _SCRATCH_SHARE)
    longest = max(256, scratch // (batch * per_position + 1))
    # Steps of equal length: a short last one costs as many calls as a long one.
    steps = max(1, math.ceil(positions / longest))
    length = max(1, math.ceil(positions / (steps * _STEP_MULTIPLE))) * _STEP_MULTIPLE
    images = max(1, scratch // (min(length, positions) * per_position + 1))
    for image in range(0, batch, images):
        for position in range(0, positions, length):
            yield slice(image, image + images), slice(position, position + length)


def _weights(distances: Tensor, scale: Tensor, out: Tensor) -> Tensor:
    """Write the assignment weights to `out`, which may be the distances themselves."""
    logits = torch.mul(distances, scale, out=out)
    logits -= logits.amax(dim=1, keepdim=True)
    weights = logits.clamp_(min=SMALLEST_LOGIT).exp_()
    weights /= weights.sum(dim=1, keepdim=True)
    return torch.threshold_(weights, NEGLIGIBLE, 0.0)


def forward(x: Tensor, codewords: Tensor, scale: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    batch, channels, positions = x.shape
    codes = codewords.shape[0]
    dtype, out_dtype = compute_dtype(x, codewords), result_dtype(x, codewords)
    codewords, scale = codewords.to(dtype), scale.to(dtype)[:, None]
    centre = shared_offset(codewords)
    if centre is not None:
        codewords = codewords - centre
        centre = centre[:, None]
    copied = centre is not None or x.dtype != dtype

    norms = exact_inner(codewords, codewords)[:, None]
    products = (-2 * codewords).expand(batch, codes, channels)
    kept = x.new_empty((batch, codes, positions) if keep else 0, dtype=dtype)
    sums = x.new_zeros((batch, codes, channels), dtype=dtype)
    mass = x.new_zeros((batch, codes, 1), dtype=dtype)
    per_position = max(codes, _NORM_CHANNELS) + 2 + (channels if copied else 0)
    with without_autocast(x.device):
        for images, span in _steps(x, per_position):
            part = x[images, :, span]
            if copied:
                part = part.to(dtype) if centre is None else part - centre
            distances = (squared_norms(part) + norms).baddbmm_(products[images], part)
            if keep:
                kept[images, :, span] = distances
            weights = _weights(distances, scale, out=distances)
            sums[images].baddbmm_(weights, part.transpose(1, 2))
            mass[images] += weights.sum(dim=2, keepdim=True)
        sums.addcmul_(mass, codewords, value=-1)
    return sums.to(out_dtype), kept


def backward(
    grad: Tensor, x: Tensor, codewords: Tensor, scale: Tensor, distances: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the features, the codewords and the smoothing factors.

    With ``g`` the encoding's gradient, ``a`` the weights, ``r`` the distances and ``z = s r``::

        da_ik = g_k.(x_i - d_k)
        dz_ik = a_ik (da_ik - sum_j a_ij da_ij)
        ds_k  = sum_i dz_ik r_ik
        q_ik  = dz_ik s_k
        dx_i  = sum_k a_ik g_k + 2 q_ik (x_i - d_k)
        dd_k  = -sum_i a_ik g_k + 2 q_ik (x_i - d_k)
    """
    batch, channels, _ = x.shape
    codes, dtype = codewords.shape[0], distances.dtype
    codewords_dtype, scale_dtype = codewords.dtype, scale.dtype
    grad, codewords, scale = grad.to(dtype), codewords.to(dtype), scale.to(dtype)[:, None]
    centre = shared_offset(codewords)
    if centre is not None:
        codewords = codewords - centre
        centre = centre[:, None]
    converted = x.dtype != dtype

    grad_x = torch.empty_like(x)
    grad_scale = grad.new_zeros(batch, codes)
    sums = torch.zeros_like(grad)
    mass = grad.new_zeros(batch, 2 * codes, 1)
    offsets = exact_inner(grad, codewords)[:, :, None]
    # One product of twice the inner size gives both terms of the features' gradient.
    both = torch.cat([grad, (-2 * codewords).expand_as(grad)], dim=1).transpose(1, 2)
    with without_autocast(x.device):
        for images, span in _steps(x, 3 * codes + (channels if converted else 0)):
            part, result = x[images, :, span], grad_x[images, :, span]
            # The memory of the gradient holds the centred features until they are no longer needed.
            scratch = torch.empty_like(part, dtype=dtype) if converted else result
            if centre is not None:
                part = torch.sub(part, centre, out=scratch)
            elif converted:
                part = scratch.copy_(part)
            r = distances[images, :, span]
            change = torch.baddbmm(offsets[images], grad[images], part, beta=-1)
            pair = r.new_empty(r.shape[0], 2 * codes, r.shape[2])
            # The second half is scratch memory until `q` is written to it.
            weights, q = pair[:, :codes], pair[:, codes:]
            _weights(r, scale, out=weights)
            # Where weights are saturated, the difference to the mean is far below the mean; the
            # second pass recovers the digits that the first one rounds away.
            for _ in range(2):
                change -= torch.mul(weights, change, out=q).sum(dim=1, keepdim=True)
            change *= weights
            grad_scale[images] += torch.mul(change, r, out=q).sum(dim=2)
            torch.mul(change, scale, out=q)
            mass[images] += pair.sum(dim=2, keepdim=True)
            sums[images].baddbmm_(q, part.transpose(1, 2))
            factor = 2 * q.sum(dim=1, keepdim=True)
            if part is scratch:
                scratch.mul_(factor).baddbmm_(both[images], pair)
            else:
                torch.bmm(both[images], pair, out=scratch).addcmul_(part, factor)
            if converted:
                result.copy_(scratch)
            # Otherwise they are still allocated when the next step allocates as much again.
            del change, pair, weights, q, scratch, part
        weights_mass, q_mass = mass.split(codes, dim=1)
        grad_codewords = (2 * (q_mass * codewords - sums) - weights_mass * grad).sum(dim=0)
    return grad_x, grad_codewords.to(codewords_dtype), grad_scale.sum(dim=0).to(scale_dtype)


encode = make_encode('encode', *retry_in_double(forward, backward, forward, backward))
