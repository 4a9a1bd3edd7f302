"""Suppressing classes that the context branch predicts to be absent."""

from __future__ import annotations

from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.decode_heads.encoding_head import EncodingHead


def absent_classes(presence: Tensor, threshold: float) -> Tensor:
    """Return which classes a presence threshold suppresses.

    Args:
        presence: Probability ``(num_classes,)`` that each class is in the image.
        threshold: Classes below it are absent, except for the most probable one, so that every
            pixel has a label. With 0 no class is absent.

    Returns:
        ``(num_classes,)``, bool.
    """
    absent = presence < threshold
    absent[presence.argmax()] = False
    return absent


def suppress_absent(scores: Tensor, presence: Tensor, threshold: float) -> Tensor:
    """Set the scores of the classes of :func:`absent_classes` to minus infinity.

    Args:
        scores: ``(num_classes, H, W)``, floating point; the class of a pixel has the largest.
        presence: Probability ``(num_classes,)`` that each class is in the image.
        threshold: As in :func:`absent_classes`.

    Returns:
        New scores ``(num_classes, H, W)``; ``scores`` is not modified.
    """
    absent = absent_classes(presence, threshold)
    return scores.masked_fill(absent[:, None, None], float('-inf'))


def label_pixels(data_sample: SegDataSample, threshold: float) -> None:
    """Set ``pred_sem_seg`` to the classes with the largest ``seg_logits`` that are not absent.

    Args:
        data_sample: Sample with ``seg_logits`` and, unless the threshold is 0, ``presence``.
        threshold: As in :func:`absent_classes`.
    """
    scores = data_sample.seg_logits.data
    if threshold:
        scores = suppress_absent(scores, data_sample.presence, threshold)
    data_sample.set_data(dict(pred_sem_seg=PixelData(data=scores.argmax(dim=0, keepdim=True))))


def presence_threshold(segmentor: BaseSegmentor) -> float:
    """Return ``presence_threshold`` of a segmentor's ``test_cfg``; 0, which suppresses nothing,
    if it is not set.

    Raises:
        UserError: The threshold is not in [0, 1], or the segmentor does not predict the presence
            of classes or has no score for each of them.
    """
    threshold = (segmentor.test_cfg or {}).get('presence_threshold')
    if threshold is None:
        return 0.0
    if not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise UserError(
            f'test_cfg.presence_threshold must be a probability from 0 to 1, got {threshold!r}; '
            'write e.g. presence_threshold=0.1, or remove it.'
        )
    head = segmentor.decode_head
    if not isinstance(head, EncodingHead) or not head.use_se_loss:
        raise UserError(
            f'got test_cfg.presence_threshold={threshold}, but the {type(head).__name__} has no '
            'SE branch to predict which classes are present; use an EncodingHead with '
            'use_se_loss=True, or remove the threshold.'
        )
    if segmentor.out_channels != head.num_classes:
        raise UserError(
            f'got test_cfg.presence_threshold={threshold}, but the head has '
            f'{segmentor.out_channels} score(s) for {head.num_classes} classes; set '
            f'out_channels={head.num_classes}, or remove the threshold.'
        )
    return float(threshold)
