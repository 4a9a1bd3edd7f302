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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return total, divisor, correct and labelled, see :class:`CrossEntropySums`.

    Args:
        logits: ``(B, C, h, w)``.
        label: ``(B, H, W)``, int64.
        class_weight: ``(C,)`` or None, in the compute dtype.
        pixel_weight: ``(B, H, W)`` or None, in the compute dtype.
        align_corners: Passed to ``F.interpolate``.
        ignore_index: Label of unlabelled pixels.
        label_smoothing: Share of the label that is spread over all classes.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    resized = F.interpolate(
        logits, size=label.shape[1:], mode='bilinear', align_corners=align_corners
    )
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
    labelled = label != ignore_index
    if class_weight is None:
        divisor = labelled.sum().to(logits.dtype)
    else:
        divisor = torch.where(labelled, class_weight[label.masked_fill(~labelled, 0)], 0.0).sum()
    own = resized.gather(1, label.masked_fill(~labelled, 0)[:, None])[:, 0]
    correct = (own >= resized.amax(dim=1)) & labelled
    return loss.sum(), divisor, correct.sum(), labelled.sum()
