"""Labels of a prediction, without classes that the SE branch predicts to be absent."""

from __future__ import annotations

from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.labels import label_pixels
from mmseg_encnet.models.segmentors.heads import has_se_branch, labelling_head, presence_head


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
    # Indexing with a tensor would wait for the device.
    return absent.scatter_(0, presence.argmax(dim=0, keepdim=True), False)


def label_sample(data_sample: SegDataSample, segmentor: BaseSegmentor) -> None:
    """Set ``pred_sem_seg`` of a prediction to int64 labels without suppressed classes.

    Args:
        data_sample: Sample with ``seg_logits`` and, if the segmentor suppresses classes,
            ``presence``.
        segmentor: The segmentor, with the thresholds of score and presence.
    """
    presence = presence_threshold(segmentor)
    absent = absent_classes(data_sample.presence, presence) if presence else None
    threshold = getattr(labelling_head(segmentor), 'threshold', None)
    labels = label_pixels(data_sample.seg_logits.data, threshold, absent)
    data_sample.set_data(dict(pred_sem_seg=PixelData(data=labels)))


def presence_threshold(segmentor: BaseSegmentor) -> float:
    """Return ``presence_threshold`` of a segmentor's ``test_cfg``; 0, which suppresses nothing,
    if it is not set.

    Raises:
        UserError: The threshold is not in [0, 1], or the segmentor does not predict the presence
            of classes.
    """
    threshold = (segmentor.test_cfg or {}).get('presence_threshold')
    if threshold is None:
        return 0.0
    if not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise UserError(
            f'test_cfg.presence_threshold must be a probability from 0 to 1, got {threshold!r}; '
            'write e.g. presence_threshold=0.1, or remove it.'
        )
    head = labelling_head(segmentor)
    if not has_se_branch(head) and presence_head(segmentor) is None:
        raise UserError(
            f'got test_cfg.presence_threshold={threshold}, but the {type(head).__name__} has no '
            'SE branch to predict which classes are present; use an EncodingHead with '
            'use_se_loss=True or an auxiliary PresenceHead, or remove the threshold.'
        )
    return float(threshold)
