"""Test-time augmentation that keeps the context."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList

from mmseg_encnet.models.segmentors.suppression import label_pixels, presence_threshold


@MODELS.register_module()
class ContextTTAModel(SegTTAModel):
    """mmseg's ``SegTTAModel`` whose merged predictions also carry the context.

    Where the views are predictions of a :class:`ContextEncoderDecoder` with an
    :class:`EncodingHead`, the merged sample has

    - ``presence`` and ``gate``: the means over the views, of what each view has (over the windows
      of a view the presence is the largest), so that a view counts for the classes as it does for
      the pixels;
    - ``assignments``: the mean over the views, on request. There are no ``gated_features``: the
      channels with the strongest gates differ between views;
    - ``seg_logits``: the logarithm of the mean of the views' class probabilities. mmseg leaves the
      logits of the last view there;
    - ``pred_sem_seg``: the most probable class of ``seg_logits``, without the classes that
      ``test_cfg.presence_threshold`` of the segmentor removes by the merged presence.

    Predictions of any other segmentor or head, and those of one score for two classes, are merged
    exactly as ``SegTTAModel`` does.

    Raises:
        UserError: If the segmentor has a ``presence_threshold`` that cannot work.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        presence_threshold(self.module)

    def merge_preds(self, data_samples_list: list[SampleList]) -> SampleList:
        """Merge the predictions of each image's views, given image by image."""
        return [self._merge(views) for views in data_samples_list]

    def _merge(self, views: Sequence[SegDataSample]) -> SegDataSample:
        if 'gate' not in views[0]:
            return super().merge_preds([views])[0]
        if self.module.out_channels == 1:
            merged = super().merge_preds([views])[0]
        else:
            merged = views[0]
            # In logarithms no class is rounded to a probability of zero, where all would tie.
            scores = reduce(
                torch.logaddexp, (view.seg_logits.data.log_softmax(dim=0) for view in views)
            )
            merged.set_data(dict(seg_logits=PixelData(data=scores - math.log(len(views)))))
        for key in ('presence', 'gate'):
            if key in merged:
                merged.set_data({key: torch.stack([view.get(key) for view in views]).mean(dim=0)})
        if 'assignments' in merged:
            total = reduce(torch.add, (view.assignments.data for view in views))
            merged.set_data(dict(assignments=PixelData(data=total / len(views))))
        for key in ('gated_features', 'gated_channels'):
            if key in merged:
                del merged[key]
        if self.module.out_channels > 1:
            label_pixels(merged, presence_threshold(self.module))
        return merged
