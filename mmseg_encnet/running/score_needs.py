"""Evaluate without the scores of all classes where no metric reads them."""

from __future__ import annotations

from mmengine.config import ConfigDict
from mmengine.evaluator import Evaluator
from torch import nn

from mmseg_encnet.models.parts import unwrapped

# Metrics that do not read ``seg_logits``.
_METRICS_OF_LABELS = (
    'CityscapesMetric',
    'IoUMetric',
    'LabelImageIoUMetric',
    'PresenceMetric',
    'TwinPixelAccuracy',
)


def drop_scores(model: nn.Module, evaluator: Evaluator) -> None:
    """Let a model predict labels without the scores of all classes, unless a metric may read them.

    An explicit ``test_cfg.keep_seg_logits`` of the segmentor is kept.

    Args:
        model: The model of an evaluation, changed in place.
        evaluator: Its metrics.
    """
    if all(type(metric).__name__ in _METRICS_OF_LABELS for metric in evaluator.metrics):
        segmentor = unwrapped(model)
        given = getattr(segmentor, 'test_cfg', None) or {}
        segmentor.test_cfg = ConfigDict(dict(keep_seg_logits=False), **given)
