"""Cross-entropy losses of configs, computed from the sums of one pass over the labels."""

from __future__ import annotations

import torch
from mmseg.models.losses import CrossEntropyLoss
from torch import Tensor, nn

from mmseg_encnet.models.losses.sync_cross_entropy_loss import SyncCrossEntropyLoss
from mmseg_encnet.ops import CrossEntropySums

# As in the toolbox, so that a batch without labels has loss zero and accuracy 100.
_EPS = torch.finfo(torch.float32).eps


def needs_sums_alone(loss: nn.Module) -> bool:
    """Return whether :func:`loss_from_sums` computes a loss of a decode head.

    Other losses, such as Dice, need logits of the size of the labels.
    """
    # Not subclasses: they may do anything.
    if type(loss) not in (CrossEntropyLoss, SyncCrossEntropyLoss) or loss.reduction == 'none':
        return False
    if type(loss) is SyncCrossEntropyLoss:
        return True
    if loss.use_sigmoid:
        # The toolbox broadcasts class weights along the columns of the image.
        return loss.class_weight is None
    return not loss.use_mask


def loss_from_sums(
    loss: CrossEntropyLoss, sums: CrossEntropySums, pixels: int, scores: int
) -> Tensor:
    """Return what a loss of :func:`needs_sums_alone` returns for resized logits.

    Args:
        loss: The loss.
        sums: Of :func:`sums_of_loss`.
        pixels: Number of pixels in the labels, ignored ones included.
        scores: Channels of the logits.
    """
    if type(loss) is SyncCrossEntropyLoss:
        return loss.average_of(sums.total, sums.divisor)
    if loss.reduction == 'sum':
        return loss.loss_weight * sums.total
    # By default the toolbox divides by all pixels, ignored ones included.
    every_pixel = not loss.avg_non_ignore and loss.class_weight is None
    terms = pixels * scores if loss.use_sigmoid else pixels
    return loss.loss_weight * sums.total / ((terms if every_pixel else sums.divisor) + _EPS)


def accuracy_from_sums(correct: Tensor, labelled: Tensor) -> Tensor:
    """Return the accuracy of the labelled pixels in percent, without waiting for the device."""
    return 100 * (correct.float() + _EPS) / (labelled.float() + _EPS)
