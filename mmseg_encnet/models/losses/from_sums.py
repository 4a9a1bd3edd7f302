"""Cross-entropy losses of configs, computed from the sums of one pass over the labels."""

from __future__ import annotations

import torch
from mmseg.models.losses import CrossEntropyLoss
from torch import Tensor, nn

from mmseg_encnet.models.losses.sync_cross_entropy_loss import SyncCrossEntropyLoss
from mmseg_encnet.ops import CrossEntropySums

# As in the toolbox, so that a batch without labels has loss zero and accuracy 100.
_EPS = torch.finfo(torch.float32).eps


def needs_sums_alone(loss: nn.Module, out_channels: int) -> bool:
    """Return whether :func:`loss_from_sums` computes a loss of a decode head.

    Other losses, such as Dice, need logits of the size of the labels.
    """
    # Not subclasses: they may do anything.
    if type(loss) not in (CrossEntropyLoss, SyncCrossEntropyLoss) or loss.reduction == 'none':
        return False
    if loss.use_sigmoid:
        return out_channels == 1 and loss.class_weight is None
    return type(loss) is SyncCrossEntropyLoss or not loss.use_mask


def loss_from_sums(loss: CrossEntropyLoss, sums: CrossEntropySums, pixels: int) -> Tensor:
    """Return what a loss of :func:`needs_sums_alone` returns for resized logits.

    Args:
        loss: The loss.
        sums: Of the labels and logits, with the class weights of the loss.
        pixels: Number of pixels in the labels, ignored ones included.
    """
    if type(loss) is SyncCrossEntropyLoss:
        return loss.average_of(sums.total, sums.divisor)
    if loss.reduction == 'sum':
        return loss.loss_weight * sums.total
    # By default the toolbox divides by all pixels, ignored ones included.
    every_pixel = not loss.avg_non_ignore and loss.class_weight is None
    return loss.loss_weight * sums.total / ((pixels if every_pixel else sums.divisor) + _EPS)


def accuracy_from_sums(correct: Tensor, labelled: Tensor) -> Tensor:
    """Return the accuracy of the labelled pixels in percent, without waiting for the device."""
    return 100 * (correct.float() + _EPS) / (labelled.float() + _EPS)
