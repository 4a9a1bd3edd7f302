"""The loss strip by strip: the backend that runs everywhere, in every precision.

Bilinear interpolation is a product with a matrix for the columns and one for the rows. A strip of a
few rows of labels is interpolated, its softmax computed in place and multiplied by the same
matrices transposed, which gives its share of the gradient of the small logits. So the forward pass
computes loss and gradient, and keeps the gradient alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_encnet.ops.interpolation import matrix, sources
from mmseg_encnet.ops.upsampled_cross_entropy.operator import make_cross_entropy

# Elements of a strip: few enough for the cache of a CPU, many enough to fill a GPU.
_STRIP_CPU = 3 * 2**17
_STRIP = 2**22
# Elements of the small rows that are interpolated along the columns at a time.
_BAND = 2**22
# From here on softplus(x) is x, also in double precision.
_SOFTPLUS = 40.0


def _rows(per_row: int, elements: int) -> int:
    return max(1, elements // max(1, per_row))


def _forward(
    logits: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    pixel_weight: Tensor | None,
    align_corners: bool,
    ignore_index: int,
    label_smoothing: float,
    use_sigmoid: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dtype = torch.promote_types(logits.dtype, torch.float32)
    classes, height, width = logits.shape[1:]
    label_height, label_width = label.shape[1:]
    device = logits.device
    wide = dtype if device.type == 'mps' else torch.float64
    total = logits.new_zeros((), dtype=wide)
    divisor = logits.new_zeros((), dtype=wide)
    correct = label.new_zeros(())
    grad = torch.zeros_like(logits if keep else logits[:0], dtype=dtype)
    labelled = (label != ignore_index).sum()
    if logits.numel() == 0 or label.numel() == 0:
        return total.to(dtype), divisor.to(dtype), correct, labelled, grad

    # Logits of the size of the labels are taken as they are.
    resized = (height, width) != (label_height, label_width)
    if resized:
        vertical = matrix(height, label_height, align_corners, dtype, device)
        horizontal = matrix(width, label_width, align_corners, dtype, device)
    share = None
    if label_smoothing:
        share = logits.new_full((classes,), label_smoothing / classes, dtype=dtype)
        share = share if class_weight is None else share * class_weight
    per_row = classes * label_width
    strip = _rows(per_row, _STRIP_CPU if device.type == 'cpu' else _STRIP)
    band = _rows(per_row * height, _BAND * label_height)
    band = max(strip, band // strip * strip)
    buffer = logits.new_empty(min(strip, label_height) * per_row, dtype=dtype)
    for image in range(logits.shape[0]):
        for start in range(0, label_height, band):
            stop = min(start + band, label_height)
            first, last = start, stop
            if resized:
                first, last = sources(height, label_height, align_corners, start, stop)
            small = logits[image, :, first:last].to(dtype).transpose(0, 1).reshape(-1, width)
            if resized:
                small = small @ horizontal
            small = small.view(last - first, per_row)
            grad_small = torch.zeros_like(small) if keep else small
            for y in range(start, stop, strip):
                end = min(y + strip, stop)
                values = buffer[: (end - y) * per_row].view(end - y, per_row)
                if resized:
                    low, high = sources(height, label_height, align_corners, y, end)
                    part = slice(low - first, high - first)
                    weights = vertical[low:high, y:end]
                    torch.mm(weights.t(), small[part], out=values)
                else:
                    part = slice(y - first, end - first)
                    values.copy_(small[part])
                scores = values.view(end - y, classes, label_width)
                pixels = None if pixel_weight is None else pixel_weight[image, y:end]
                target = label[image, y:end]
                if use_sigmoid:
                    loss, weight, right = _decisions(
                        scores, target, class_weight, pixels, ignore_index, keep
                    )
                else:
                    loss, weight, right = _strip(
                        scores, target, class_weight, pixels,
                        share, ignore_index, 1 - label_smoothing, keep,
                    )  # fmt: skip
                total += loss.sum(dtype=wide)
                divisor += weight.sum(dtype=wide)
                correct += right.sum()
                if keep and resized:
                    grad_small[part].addmm_(weights, values)
                elif keep:
                    grad_small[part] += values
            if keep:
                back = grad_small.view(-1, label_width)
                if resized:
                    back = back @ horizontal.t()
                back = back.view(last - first, classes, width).transpose(0, 1)
                grad[image, :, first:last] += back
    # The logits of a batch without labels do not matter, even if they are not finite.
    grad.masked_fill_(labelled == 0, 0.0)
    return total.to(dtype), divisor.to(dtype), correct, labelled, grad


def _strip(
    scores: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    pixel_weight: Tensor | None,
    share: Tensor | None,
    ignore_index: int,
    own_share: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss, weight and correctness of the pixels ``(R, W)`` of a strip.

    `scores` ``(R, C, W)`` become the gradient if `keep` is set.
    """
    labelled = label != ignore_index
    index = label.masked_fill(~labelled, 0)
    weight = labelled.to(scores.dtype)
    if class_weight is not None:
        weight = torch.where(labelled, class_weight[index], 0.0)
    factor = weight * own_share
    pixels = labelled.to(scores.dtype)
    if pixel_weight is not None:
        pixels = torch.where(labelled, pixel_weight, 0.0)
        factor = factor * pixels
    index = index[:, None]
    scores.sub_(scores.amax(dim=1, keepdim=True))
    own = scores.gather(1, index)[:, 0]
    right = (own >= 0) & labelled
    if share is not None:
        mean = torch.einsum('rcw,c->rw', scores, share)
    total = scores.exp_().sum(dim=1)
    log_total = total.log()
    loss = factor * (log_total - own)
    spread = factor
    if share is not None:
        all_shares = share.sum()
        loss = loss + pixels * (all_shares * log_total - mean)
        spread = factor + pixels * all_shares
    if keep:
        scores.mul_((spread / total)[:, None])
        scores.scatter_add_(1, index, -factor[:, None])
        if share is not None:
            scores.sub_(share[:, None] * pixels[:, None])
    return torch.where(labelled, loss, 0.0), weight, right


def _decisions(
    scores: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    pixel_weight: Tensor | None,
    ignore_index: int,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Do the same as :func:`_strip` for one binary decision a class."""
    labelled = label != ignore_index
    index = label.masked_fill(~labelled, 0)
    factor = labelled.to(scores.dtype)
    if pixel_weight is not None:
        factor = torch.where(labelled, pixel_weight, 0.0)
    weight = 1.0 if class_weight is None else class_weight[index]
    own = scores.gather(1, index[:, None])[:, 0]
    right = (own >= scores.amax(dim=1)) & labelled
    present = weight * F.softplus(-own, threshold=_SOFTPLUS)
    # Of the classes that are absent, all but the own one.
    losses = F.softplus(scores, threshold=_SOFTPLUS)
    loss = losses.scatter_(1, index[:, None], 0.0).sum(dim=1)
    loss = factor * (loss + present)
    if keep:
        # A difference to 1 would lose the digits of a confident decision.
        missing = -(weight * torch.sigmoid(-own))
        scores.sigmoid_().scatter_(1, index[:, None], missing[:, None])
        scores.mul_(factor[:, None])
    return torch.where(labelled, loss, 0.0), labelled.to(scores.dtype) * scores.shape[1], right


sums = make_cross_entropy('upsampled_cross_entropy_strips', _forward)
