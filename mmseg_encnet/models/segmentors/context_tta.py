"""Test-time augmentation that keeps the context."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList
from torch import Tensor

from mmseg_encnet.models.segmentors.context import FIELDS, merge_views
from mmseg_encnet.models.segmentors.context_encoder_decoder import ContextEncoderDecoder
from mmseg_encnet.models.segmentors.score_map import MergedScoreMap, wants_scores
from mmseg_encnet.models.segmentors.suppression import (
    absent_classes,
    label_sample,
    presence_threshold,
)


@MODELS.register_module()
class ContextTTAModel(SegTTAModel):
    """mmseg's ``SegTTAModel`` with the context in its merged predictions.

    If the segmentor is a :class:`ContextEncoderDecoder`, the merged sample has

    - ``presence`` and ``gate``, each if a head predicts it, merged as
      :mod:`mmseg_encnet.models.segmentors.context` defines, and on request ``assignments``: the
      mean over the views. There are no ``gated_features``, because the channels with the strongest
      gates differ between views, and no ``score_map``;
    - ``seg_logits``: the logarithm of the mean of the views' class probabilities. mmseg returns
      the logits of the last view. With ``keep_seg_logits=False`` there are none, as in
      :class:`ContextEncoderDecoder`: the labels are the same, and memory grows neither with the
      number of classes nor with that of the views times the pixels of the image;
    - ``pred_sem_seg``: the most probable class of ``seg_logits``, except for the classes that
      ``test_cfg.presence_threshold`` of the segmentor suppresses by the merged presence.

    With a single score for two classes, ``seg_logits`` is the mean of the views' probabilities of
    class 1, for any segmentor. ``SegTTAModel`` applies the sigmoid twice, so that it never falls
    below 0.5.

    Predictions of other segmentors are merged exactly as by ``SegTTAModel``.

    Raises:
        UserError: ``presence_threshold`` of the segmentor cannot be applied.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        presence_threshold(self.module)

    def test_step(self, data: dict[str, Any]) -> SampleList:
        """Predict a batch of images, given for each view as by ``pseudo_collate``."""
        if not isinstance(self.module, ContextEncoderDecoder):
            return super().test_step(data)
        views = []
        for inputs, data_samples in zip(data['inputs'], data['data_samples']):
            view = self.module.data_preprocessor(
                dict(inputs=inputs, data_samples=data_samples), training=False
            )
            views.append(self.module.predict_score_maps(**view))
        return self.merge_preds(list(zip(*views)))

    def merge_preds(self, data_samples_list: list[SampleList]) -> SampleList:
        """Merge the views' predictions of each image."""
        return [self._merge(views) for views in data_samples_list]

    def _merge(self, views: Sequence[SegDataSample]) -> SegDataSample:
        one_score = self.module.out_channels == 1
        merged = views[0]
        if 'score_map' not in merged:
            if not one_score:
                return super().merge_preds([views])[0]
            # Probabilities already, of which the toolbox takes the sigmoid once more.
            scores = _mean([view.seg_logits.data for view in views])
            merged.set_data(dict(seg_logits=PixelData(data=scores)))
            label_sample(merged, self.module)
            return merged
        context = [{key: view.get(key)[None] for key in FIELDS if key in view} for view in views]
        merged.set_data(merge_views(context))
        if 'assignments' in merged:
            total = _mean([view.assignments.data for view in views])
            merged.set_data(dict(assignments=PixelData(data=total)))
        maps = [view.score_map for view in views]
        for key in ('gated_features', 'gated_channels', 'score_map'):
            if key in merged:
                del merged[key]
        keep = wants_scores(self.module, merged.metainfo)
        if one_score or keep:
            scores = (
                _mean([view.scores().sigmoid() for view in maps])
                if one_score
                else MergedScoreMap(maps).scores()
            )
            merged.set_data(dict(seg_logits=PixelData(data=scores)))
            label_sample(merged, self.module)
            if not keep:
                del merged.seg_logits
        else:
            threshold = presence_threshold(self.module)
            absent = absent_classes(merged.presence, threshold) if threshold else None
            labels = MergedScoreMap(maps).labels(absent)
            merged.set_data(dict(pred_sem_seg=PixelData(data=labels)))
        return merged


def _mean(values: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, values) / len(values)
