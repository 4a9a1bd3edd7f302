"""Test-time augmentation that keeps the context."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList

from mmseg_encnet.models.segmentors.context import FIELDS, merge_views
from mmseg_encnet.models.segmentors.suppression import label_sample, presence_threshold


@MODELS.register_module()
class ContextTTAModel(SegTTAModel):
    """mmseg's ``SegTTAModel`` with the context in its merged predictions.

    If the views are predictions of a :class:`ContextEncoderDecoder` with an
    :class:`EncodingHead`, the merged sample has

    - ``presence`` and ``gate``, merged as :mod:`mmseg_encnet.models.segmentors.context` defines;
    - ``assignments``: the mean over the views, on request. There are no ``gated_features``,
      because the channels with the strongest gates differ between views, and no ``score_map``;
    - ``seg_logits``: the logarithm of the mean of the views' class probabilities. mmseg returns
      the logits of the last view;
    - ``pred_sem_seg``: the most probable class of ``seg_logits``, except for the classes that
      ``test_cfg.presence_threshold`` of the segmentor suppresses by the merged presence.

    With a single score for two classes, ``seg_logits`` is the mean of the views' probabilities of
    class 1, for any head. ``SegTTAModel`` applies the sigmoid twice, so that it never falls below
    0.5.

    All other predictions are merged exactly as by ``SegTTAModel``.

    Raises:
        UserError: ``presence_threshold`` of the segmentor cannot be applied.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        presence_threshold(self.module)
        # Views are merged by their scores.
        self.module.test_cfg = ConfigDict(self.module.test_cfg or {}, keep_seg_logits=True)

    def merge_preds(self, data_samples_list: list[SampleList]) -> SampleList:
        """Merge the views' predictions of each image."""
        return [self._merge(views) for views in data_samples_list]

    def _merge(self, views: Sequence[SegDataSample]) -> SegDataSample:
        if self.module.out_channels == 1:
            # Probabilities already, of which the toolbox takes the sigmoid once more.
            merged = views[0]
            scores = reduce(torch.add, (view.seg_logits.data for view in views)) / len(views)
            merged.set_data(dict(seg_logits=PixelData(data=scores)))
        elif 'gate' not in views[0]:
            return super().merge_preds([views])[0]
        else:
            merged = views[0]
            # Logarithms prevent probabilities from underflowing to zero, where classes would tie.
            scores = reduce(
                torch.logaddexp, (view.seg_logits.data.log_softmax(dim=0) for view in views)
            )
            merged.set_data(dict(seg_logits=PixelData(data=scores - math.log(len(views)))))
        merged.set_data(
            merge_views(
                [{key: view.get(key)[None] for key in FIELDS if key in view} for view in views]
            )
        )
        if 'assignments' in merged:
            total = reduce(torch.add, (view.assignments.data for view in views))
            merged.set_data(dict(assignments=PixelData(data=total / len(views))))
        for key in ('gated_features', 'gated_channels', 'score_map'):
            if key in merged:
                del merged[key]
        label_sample(merged, self.module)
        return merged
