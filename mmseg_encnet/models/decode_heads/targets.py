"""Targets that more than one decode head needs."""

from __future__ import annotations

import torch
from mmseg.utils import SampleList
from torch import Tensor

from mmseg_encnet.ops import presence_targets


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
