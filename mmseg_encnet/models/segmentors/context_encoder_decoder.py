"""Segmentor that adds the output of the context branch to its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import OptSampleList, SampleList
from torch import Tensor

from mmseg_encnet.models.decode_heads.encoding_head import EncodingHead
from mmseg_encnet.models.decode_heads.presence_head import PresenceHead
from mmseg_encnet.models.labels import set_integer_labels
from mmseg_encnet.models.segmentors.context import Network, merge_windows, segment
from mmseg_encnet.models.segmentors.heads import check_heads, labelling_head, presence_head
from mmseg_encnet.models.segmentors.layout import in_training_layout
from mmseg_encnet.models.segmentors.score_map import ScoreMap, wants_scores
from mmseg_encnet.models.segmentors.suppression import (
    absent_classes,
    label_sample,
    presence_threshold,
)
from mmseg_encnet.models.segmentors.windows import (
    Window,
    average_maps,
    check_windows,
    place_windows,
)

# Number of channels with the strongest gates, and with the weakest, in the context maps.
GATED_CHANNELS = 3


@MODELS.register_module()
class ContextEncoderDecoder(EncoderDecoder):
    """mmseg's ``EncoderDecoder`` with the context in its predictions.

    Every predicted ``SegDataSample`` has, in addition to ``pred_sem_seg`` and ``seg_logits``:

    - ``presence``: probability ``(num_classes,)`` that each class is in the image, if the decode
      head is an :class:`EncodingHead` with the SE branch or, with any decode head, if an auxiliary
      head is a :class:`PresenceHead`;
    - ``gate``: the gate gamma ``(channels,)``, if the decode head is an :class:`EncodingHead`.

    :mod:`mmseg_encnet.models.segmentors.context` defines how they are merged over sliding windows.

    Context maps are added on request, with ``test_cfg=dict(context_maps=True)`` or with
    ``context_maps`` in an image's metainfo, which takes precedence. They have the size of
    ``pred_sem_seg``; like the logits they are averaged where windows overlap, cropped to the
    unpadded image, flipped back and resized:

    - ``assignments``: ``PixelData`` ``(num_codes, H, W)``, the soft assignment of each pixel to the
      codewords, which sums to one; only if the encoder has a dictionary. Those of an
      :class:`EncodingHead` precede those of a :class:`PresenceHead`.
    - ``gated_features``: ``PixelData`` ``(6, H, W)``, the features before the gate of the three
      channels with the strongest gates and the three with the weakest, by decreasing gate; some
      channels appear twice if the network has fewer than six. Only with a gate, as the next.
    - ``gated_channels``: indices ``(6,)`` of these channels, int64.
    - ``score_map``: a :class:`ScoreMap`, which labels the image again without some classes.

    With ``test_cfg=dict(keep_seg_logits=False)``, or ``keep_seg_logits=False`` in an image's
    metainfo, which takes precedence, predictions have no ``seg_logits``: the labels are the same,
    but memory does not grow with the number of classes times the pixels of the image.

    With ``test_cfg=dict(presence_threshold=0.1)`` no pixel is labelled with a class whose presence
    is below the threshold, except for the most probable class. This affects ``pred_sem_seg``
    only; ``seg_logits`` remain those of the network.

    With a single score for two classes (``num_classes=2, out_channels=1``), ``seg_logits`` holds
    the probability of class 1, as in the toolbox, and the metainfo ``score_threshold`` the value
    above which a pixel has this class.

    Attributes:
        network: What computes predictions instead of the layers, see :mod:`mmseg_encnet.runtimes`;
            None for the layers themselves.

    ``pred_sem_seg`` holds int64. Apart from that, with other heads its predictions are those of
    ``EncoderDecoder``.

    Raises:
        UserError: The windows of ``test_cfg`` do not cover an image; its ``presence_threshold`` is
            not a probability, or no head predicts presence; more than one head does; the
            :class:`PresenceHead` has another number of classes than the decode head; or a head
            takes an output that the backbone or neck does not have.
    """

    network: Network | None = None

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check_windows(self.test_cfg)
        check_heads(self)
        presence_threshold(self)

    @property
    def presence_head(self) -> PresenceHead | None:
        """The auxiliary head whose presence is predicted."""
        return presence_head(self)

    def extract_feat(self, inputs: Tensor) -> Sequence[Tensor]:
        """Return the feature maps of images ``(B, 3, H, W)``, after the neck."""
        if self.training:
            inputs = in_training_layout(inputs, self)
        return super().extract_feat(inputs)

    def predict(self, inputs: Tensor, data_samples: OptSampleList = None) -> SampleList:
        """Predict a batch of images ``(B, 3, H, W)``; the class lists the added fields."""
        metas = _metas(inputs, data_samples)
        with_scores = [wants_scores(self, meta) for meta in metas]
        if self.network is None and not self._has_context and all(with_scores):
            return super().predict(inputs, data_samples)
        data_samples = self.predict_score_maps(inputs, data_samples)
        requested = self._with_maps(metas)
        for i, (data_sample, with_score) in enumerate(zip(data_samples, with_scores)):
            self._label(data_sample, data_sample.score_map, with_score)
            if i not in requested:
                del data_sample.score_map
        return data_samples

    def predict_score_maps(self, inputs: Tensor, data_samples: OptSampleList = None) -> SampleList:
        """Predict a batch of images ``(B, 3, H, W)`` without labelling them.

        Returns:
            A sample for each image with the ``score_map``, the context and, on request, the context
            maps, but neither ``pred_sem_seg`` nor ``seg_logits``.
        """
        metas = _metas(inputs, data_samples)
        requested = self._with_maps(metas)
        windows = self._windows(inputs.shape[2:])
        outputs = [
            segment(self, inputs[:, :, window.rows, window.columns], requested)
            for window in windows
        ]
        context = merge_windows([output.context for output in outputs])
        threshold = getattr(labelling_head(self), 'threshold', None)
        if data_samples is None:
            data_samples = [SegDataSample() for _ in metas]
        for i, data_sample in enumerate(data_samples):
            data_sample.set_data({key: values[i] for key, values in context.items()})
            in_size = partial(
                ScoreMap,
                windows=windows,
                input_size=inputs.shape[2:],
                meta=metas[i],
                align_corners=self.align_corners,
            )
            score_map = in_size([out.logits[i : i + 1] for out in outputs], threshold=threshold)
            data_sample.set_data(dict(score_map=score_map))
            if self.out_channels == 1:
                data_sample.set_metainfo(dict(score_threshold=threshold))
            if i not in requested:
                continue
            row = requested.index(i)
            features = [out.features[row : row + 1] for out in outputs if out.features is not None]
            if features:
                channels = _outer_channels(data_sample.gate)
                maps = in_size([values[:, channels] for values in features]).scores()
                data_sample.set_data(
                    dict(gated_channels=channels, gated_features=PixelData(data=maps))
                )
            assignments = [
                out.assignments[row : row + 1] for out in outputs if out.assignments is not None
            ]
            if assignments:
                maps = in_size(assignments).scores()
                data_sample.set_data(dict(assignments=PixelData(data=maps)))
        return data_samples

    def postprocess_result(
        self, seg_logits: Tensor, data_samples: OptSampleList = None
    ) -> SampleList:
        """Return the toolbox's predictions, with labels of int64 also for a single score."""
        data_samples = super().postprocess_result(seg_logits, data_samples)
        for data_sample in data_samples:
            set_integer_labels(data_sample)
        return data_samples

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Return the logits of sliding windows, averaged where they overlap.

        They are those of ``EncoderDecoder``, whose check of the coverage waits for the device.
        """

        def logits(window: Window) -> Tensor:
            # The head resizes its logits to this size.
            crop = inputs[:, :, window.rows, window.columns]
            batch_img_metas[0]['img_shape'] = crop.shape[2:]
            return self.encode_decode(crop, batch_img_metas)

        windows = self._windows(inputs.shape[2:])
        return average_maps(windows, map(logits, windows), inputs.shape[2:])

    def _windows(self, size: Sequence[int]) -> list[Window]:
        """Return the windows of the toolbox's inference over an input ``(H, W)``."""
        check_windows(self.test_cfg)
        if self.test_cfg.get('mode', 'whole') == 'whole':
            return place_windows(size, crop_size=size, stride=size, shift_last=True)
        return place_windows(
            size, self.test_cfg['crop_size'], self.test_cfg['stride'], shift_last=True
        )

    def _label(self, data_sample: SegDataSample, score_map: ScoreMap, with_scores: bool) -> None:
        """Set ``pred_sem_seg`` and, with scores, ``seg_logits``."""
        threshold = presence_threshold(self)
        absent = absent_classes(data_sample.presence, threshold) if threshold else None
        if not with_scores:
            data_sample.set_data(dict(pred_sem_seg=PixelData(data=score_map.labels(absent))))
            return
        # Already in its final size; the toolbox applies the sigmoid to a single score.
        (labelled,) = self.postprocess_result(score_map.scores()[None])
        data_sample.set_data(
            dict(seg_logits=labelled.seg_logits, pred_sem_seg=labelled.pred_sem_seg)
        )
        if absent is not None:
            label_sample(data_sample, self)

    @property
    def _has_context(self) -> bool:
        return isinstance(self.decode_head, EncodingHead) or self.presence_head is not None

    def _with_maps(self, metas: Sequence[dict[str, Any] | None]) -> list[int]:
        """Return the indices of the images for which context maps are requested."""
        by_default = self.test_cfg.get('context_maps', False)
        return [
            i
            for i, meta in enumerate(metas)
            if self._has_context and (meta or {}).get('context_maps', by_default)
        ]


@MODELS.register_module()
class ContextCascadeEncoderDecoder(ContextEncoderDecoder, CascadeEncoderDecoder):
    """mmseg's ``CascadeEncoderDecoder`` with the context in its predictions.

    For PointRend and OCRNet with a :class:`PresenceHead`; otherwise as
    :class:`ContextEncoderDecoder`.
    """


def _metas(inputs: Tensor, data_samples: OptSampleList) -> list[dict[str, Any] | None]:
    """Return the metainfo of each image, or None for images without samples."""
    if data_samples is None:
        return [None] * len(inputs)
    return [data_sample.metainfo for data_sample in data_samples]


def _outer_channels(gate: Tensor) -> Tensor:
    """Return the channels with the strongest and the weakest gates, by decreasing gate."""
    order = gate.argsort(descending=True, stable=True)
    return torch.cat([order[:GATED_CHANNELS], order[-GATED_CHANNELS:]])
