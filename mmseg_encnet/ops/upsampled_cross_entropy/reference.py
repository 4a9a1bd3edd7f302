"""The loss as usually computed: the specification that the backends are tested against.

The logits are resized to the size of the labels, and autograd keeps them, their log-softmax and its
gradient. Exporters and double backward use it too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sums(
    logits: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    pixel_weight: Tensor | None,
    align_corners: bool,
    ignore_index: int,
    label_smoothing: float,
    use_sigmoid: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return total, divisor, correct and labelled, see :class:`CrossEntropySums`.

    Args:
        logits: ``(B, C, h, w)``.
        label: ``(B, H, W)``, int64.
        class_weight: ``(C,)`` or None, in the compute dtype.
        pixel_weight: ``(B, H, W)`` or None, in the compute dtype.
        align_corners: Passed to ``F.interpolate``.
        ignore_index: Label of unlabelled pixels.
        label_smoothing: Share of the label that is spread over all classes; with the softmax.
        use_sigmoid: Whether every class is a binary decision of its own. `class_weight` is then
            the factor of its loss where it is present.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    resized = F.interpolate(
        logits, size=label.shape[1:], mode='bilinear', align_corners=align_corners
    )
    labelled = label != ignore_index
    index = label.masked_fill(~labelled, 0)
    if use_sigmoid:
        present = torch.zeros_like(resized).scatter_(1, index[:, None], 1.0)
        loss = F.binary_cross_entropy_with_logits(
            resized,
            present,
            pos_weight=None if class_weight is None else class_weight[:, None, None],
            reduction='none',
        )
        loss = torch.where(labelled, loss.sum(dim=1), 0.0)
    else:
        loss = F.cross_entropy(
            resized,
            label,
            weight=class_weight,
            ignore_index=ignore_index,
            reduction='none',
            label_smoothing=label_smoothing,
        )
    if pixel_weight is not None:
        loss = loss * pixel_weight
    if use_sigmoid:
        divisor = labelled.sum().to(logits.dtype) * logits.shape[1]
    elif class_weight is None:
        divisor = labelled.sum().to(logits.dtype)
    else:
        divisor = torch.where(labelled, class_weight[index], 0.0).sum()
    own = resized.gather(1, index[:, None])[:, 0]
    correct = (own >= resized.amax(dim=1)) & labelled
    return loss.sum(), divisor, correct.sum(), labelled.sum()
