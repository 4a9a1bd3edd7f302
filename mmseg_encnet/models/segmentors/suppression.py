"""Removing classes that the context calls absent, before pixels are labelled."""

from __future__ import annotations

from numbers import Real

from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.decode_heads.encoding_head import EncodingHead


def absent_classes(presence: Tensor, threshold: float) -> Tensor:
    """The classes that a threshold on the presence removes.

    Args:
        presence: Probability ``(num_classes,)`` that each class is in the image.
        threshold: Classes below it are absent; the most probable class never is, so that every
            pixel keeps a label. At 0 no class is absent.

    Returns:
        ``(num_classes,)``, bool.
    """
    absent = presence < threshold
    absent[presence.argmax()] = False
    return absent


def suppress_absent(scores: Tensor, presence: Tensor, threshold: float) -> Tensor:
    """Class scores in which the classes of :func:`absent_classes` can win no pixel.

    Args:
        scores: ``(num_classes, H, W)``, floating; the class of a pixel has the largest.
        presence: Probability ``(num_classes,)`` that each class is in the image.
        threshold: As in :func:`absent_classes`.

    Returns:
        The scores with minus infinity for absent classes; ``scores`` itself is not changed.
    """
    absent = absent_classes(presence, threshold)
    return scores.masked_fill(absent[:, None, None], float('-inf'))


def label_pixels(data_sample: SegDataSample, threshold: float) -> None:
    """Set ``pred_sem_seg`` to the classes with the largest ``seg_logits`` that are not absent.

    Args:
        data_sample: With ``seg_logits`` and, unless the threshold is 0, ``presence``.
        threshold: As in :func:`absent_classes`.
    """
    scores = data_sample.seg_logits.data
    if threshold:
        scores = suppress_absent(scores, data_sample.presence, threshold)
    data_sample.set_data(dict(pred_sem_seg=PixelData(data=scores.argmax(dim=0, keepdim=True))))


def presence_threshold(segmentor: BaseSegmentor) -> float:
    """The ``presence_threshold`` of a segmentor's ``test_cfg``; 0, which removes nothing, without.

    Raises:
        UserError: If it is no number from 0 to 1, or the segmentor does not say which classes are
            present or has no score for each of them.
    """
    threshold = (segmentor.test_cfg or {}).get('presence_threshold')
    if threshold is None:
        return 0.0
    if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
        raise UserError(
            f'test_cfg.presence_threshold={threshold!r} came, a probability from 0 to '
            '1 was expected; write e.g. presence_threshold=0.1, or leave it out.'
        )
    head = segmentor.decode_head
    if not isinstance(head, EncodingHead) or not head.use_se_loss:
        raise UserError(
            f'test_cfg.presence_threshold={threshold} came, but the '
            f'{type(head).__name__} has no SE branch to say which classes are present; '
            'use an EncodingHead with use_se_loss=True, or leave the threshold out.'
        )
    if segmentor.out_channels != head.num_classes:
        raise UserError(
            f'test_cfg.presence_threshold={threshold} came, but the head has '
            f'{segmentor.out_channels} score(s) for {head.num_classes} classes; set '
            f'out_channels={head.num_classes}, or leave the threshold out.'
        )
    return float(threshold)
