"""Give hooks integer labels, whatever the segmentor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmseg.structures import SegDataSample

from mmseg_encnet.models.labels import set_integer_labels


class LabelTypeHook(Hook):
    """Converts predicted labels to int64 before the hooks that draw or count them.

    The toolbox's segmentors and test-time augmentation predict floating-point labels if the head
    has a single score, which its visualizer cannot draw.
    """

    priority = 'VERY_HIGH'

    def after_val_iter(
        self,
        runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        for data_sample in outputs or ():
            if 'pred_sem_seg' in data_sample:
                set_integer_labels(data_sample)

    after_test_iter = after_val_iter
