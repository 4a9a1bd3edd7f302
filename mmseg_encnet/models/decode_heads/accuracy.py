"""The pixel accuracy that heads log while they train."""

from __future__ import annotations

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import accuracy
from mmseg.models.utils import resize
from mmseg.utils import SampleList
from torch import Tensor

from mmseg_encnet.models.labels import both_scores


def correct_accuracy(
    losses: dict[str, Tensor], head: BaseDecodeHead, seg_logits: Tensor, samples: SampleList
) -> dict[str, Tensor]:
    """Replace ``acc_seg`` of a head with a single score, and return the losses.

    The toolbox takes the largest score of each pixel, which counts every pixel as class 0.

    Args:
        losses: Losses of the toolbox's ``loss_by_feat``, changed in place.
        head: The head.
        seg_logits: Its scores ``(B, out_channels, h, w)``.
        samples: Ground truth of the batch.
    """
    if head.out_channels == 1:
        labels = head._stack_batch_gt(samples)
        logits = resize(
            seg_logits, labels.shape[2:], mode='bilinear', align_corners=head.align_corners
        )
        losses['acc_seg'] = accuracy(
            both_scores(logits.detach(), head.threshold),
            labels.squeeze(1),
            ignore_index=head.ignore_index,
        )
    return losses
