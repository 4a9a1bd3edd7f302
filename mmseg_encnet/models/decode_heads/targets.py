"""Loss and targets of the SE branch, which more than one head has."""

from __future__ import annotations

from typing import Any

import torch
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.ops import presence_targets


def build_se_loss(cfg: dict[str, Any] | None, num_classes: int) -> nn.Module:
    """Build the loss of an SE branch from its config; ``SemanticEncodingLoss`` by default.

    Raises:
        UserError: ``pos_weight`` of the loss is for another number of classes.
    """
    loss = MODELS.build(cfg or dict(type='SemanticEncodingLoss'))
    pos_weight = getattr(loss, 'pos_weight', None)
    if isinstance(pos_weight, Tensor) and pos_weight.dim() and len(pos_weight) != num_classes:
        raise UserError(
            f'got pos_weight of {len(pos_weight)} classes in loss_se_decode, expected '
            f'{num_classes}, one weight for each class of the head; correct pos_weight.'
        )
    return loss


def stacked_presence(samples: SampleList, num_classes: int, ignore_index: int | None) -> Tensor:
    """Return the 0/1 targets of the SE loss, ``(B, num_classes)``, float32.

    Args:
        samples: Ground truth of the batch.
        num_classes: Number of classes.
        ignore_index: Label of unlabelled pixels; it may lie among the classes.
    """
    labels = torch.stack([sample.gt_sem_seg.data for sample in samples])
    if ignore_index is not None and 0 <= ignore_index < num_classes:
        labels = labels.masked_fill(labels == ignore_index, -1)
    return presence_targets(labels, num_classes)
