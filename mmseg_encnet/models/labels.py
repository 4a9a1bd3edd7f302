"""From class scores to labels: the one rule that models, metrics and tools share.

A head with ``num_classes=2, out_channels=1`` has a single score per pixel, that of class 1. Its
probability is the sigmoid of the score, and the pixel belongs to class 1 if the probability exceeds
the head's ``threshold``. Otherwise the class of a pixel has the largest score.
"""

from __future__ import annotations

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor


def label_pixels(
    scores: Tensor, threshold: float | None = None, absent: Tensor | None = None
) -> Tensor:
    """Return the labels of class scores.

    Args:
        scores: ``(..., C, H, W)``, floating point: one score per class, or with C = 1 the
            probability of class 1, as in ``seg_logits`` of the toolbox.
        threshold: Probability above which a pixel belongs to class 1; only used with C = 1.
        absent: Classes ``(num_classes,)``, bool, with which no pixel is labelled; not all of them.

    Returns:
        Class indices ``(..., 1, H, W)``, int64.
    """
    if scores.shape[-3] > 1:
        if absent is not None:
            scores = scores.masked_fill(absent[:, None, None], float('-inf'))
        return scores.argmax(dim=-3, keepdim=True)
    assert threshold is not None, 'a single score needs the threshold of its head'
    labels = (scores > threshold).long()
    if absent is not None and absent.any():
        labels = torch.full_like(labels, int(absent[0]))
    return labels


def both_scores(logits: Tensor, threshold: float | None) -> Tensor:
    """Return one logit for each of two classes, from that of class 1 alone.

    Class 1 has the larger one where its probability exceeds the threshold.

    Args:
        logits: ``(B, C, H, W)``; returned as they are unless C is 1.
        threshold: As in :func:`label_pixels`.

    Returns:
        ``(B, 2, H, W)``, or ``logits``.
    """
    if logits.shape[1] > 1:
        return logits
    assert threshold is not None, 'a single score needs the threshold of its head'
    background = torch.full_like(logits, threshold).logit()
    return torch.cat([background, logits], dim=1)


def set_integer_labels(data_sample: SegDataSample) -> None:
    """Convert the labels of a prediction to int64.

    The toolbox's segmentors predict floating-point labels if the head has a single score.
    """
    labels = data_sample.pred_sem_seg.data
    if labels.is_floating_point():
        data_sample.set_data(dict(pred_sem_seg=PixelData(data=labels.long())))
