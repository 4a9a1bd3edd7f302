"""Segmentor that adds the output of the context branch to its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import OptSampleList, SampleList
from torch import Tensor

from mmseg_encnet.models.decode_heads.encoding_head import EncodingHead
from mmseg_encnet.models.labels import set_integer_labels
from mmseg_encnet.models.segmentors.context import Context, merge_windows, segment
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

    With an :class:`EncodingHead`, every predicted ``SegDataSample`` has, in addition to
    ``pred_sem_seg`` and ``seg_logits``:

    - ``presence``: probability ``(num_classes,)`` that each class is in the image, only if the
      head has the SE branch;
    - ``gate``: the gate gamma ``(channels,)``.

    :mod:`mmseg_encnet.models.segmentors.context` defines how they are merged over sliding windows.

    Context maps are added on request, with ``test_cfg=dict(context_maps=True)`` or with
    ``context_maps`` in an image's metainfo, which takes precedence. They have the size of
    ``pred_sem_seg``; like the logits they are averaged where windows overlap, cropped to the
    unpadded image, flipped back and resized:

    - ``assignments``: ``PixelData`` ``(num_codes, H, W)``, the soft assignment of each pixel to the
      codewords, which sums to one; only if the encoder has a dictionary.
    - ``gated_features``: ``PixelData`` ``(6, H, W)``, the features before the gate of the three
      channels with the strongest gates and the three with the weakest, by decreasing gate; some
      channels appear twice if the network has fewer than six.
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

    ``pred_sem_seg`` holds int64. Apart from that, with any other head its predictions are those of
    ``EncoderDecoder``.

    Raises:
        UserError: The windows of ``test_cfg`` do not cover an image, or its
            ``presence_threshold`` is not a probability or the head has no SE branch.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check_windows(self.test_cfg)
        presence_threshold(self)

    def predict(self, inputs: Tensor, data_samples: OptSampleList = None) -> SampleList:
        """Predict a batch of images ``(B, 3, H, W)``; the class lists the added fields."""
        metas = _metas(inputs, data_samples)
        with_scores = [wants_scores(self, meta) for meta in metas]
        if not isinstance(self.decode_head, EncodingHead) and all(with_scores):
            return super().predict(inputs, data_samples)
        data_samples = self.predict_score_maps(inputs, data_samples)
        for data_sample, with_score in zip(data_samples, with_scores):
            self._label(data_sample, data_sample.score_map, with_score)
            if 'gated_channels' not in data_sample:
                del data_sample.score_map
        return data_samples

    def predict_score_maps(self, inputs: Tensor, data_samples: OptSampleList = None) -> SampleList:
        """Predict a batch of images ``(B, 3, H, W)`` without labelling them.

        Returns:
            A sample for each image with the ``score_map``, the context and, on request, the context
            maps, but neither ``pred_sem_seg`` nor ``seg_logits``.
        """
        metas = _metas(inputs, data_samples)
        encoding = isinstance(self.decode_head, EncodingHead)
        by_default = self.test_cfg.get('context_maps', False)
        requested = [
            i
            for i, meta in enumerate(metas)
            if encoding and (meta or {}).get('context_maps', by_default)
        ]
        windows = self._windows(inputs.shape[2:])
        outputs = [
            self._forward_window(inputs[:, :, window.rows, window.columns], requested)
            for window in windows
        ]
        context = merge_windows([window_context for _, window_context, _ in outputs])
        if data_samples is None:
            data_samples = [SegDataSample() for _ in metas]
        for i, data_sample in enumerate(data_samples):
            data_sample.set_data({key: values[i] for key, values in context.items()})
            score_map = ScoreMap(
                [logits[i : i + 1] for logits, _, _ in outputs],
                windows,
                inputs.shape[2:],
                metas[i],
                self.align_corners,
                getattr(self.decode_head, 'threshold', None),
            )
            data_sample.set_data(dict(score_map=score_map))
            if self.out_channels == 1:
                data_sample.set_metainfo(dict(score_threshold=self.decode_head.threshold))
        for row, index in enumerate(requested):
            channels = _outer_channels(context['gate'][index])
            maps = average_maps(
                windows,
                (
                    self._select_maps(maps[row : row + 1], channels, window.size)
                    for window, (_, _, maps) in zip(windows, outputs)
                ),
                inputs.shape[2:],
            )
            # The toolbox undoes padding, flipping and resizing of the maps as it does for logits.
            template = None if metas[index] is None else [SegDataSample(metainfo=metas[index])]
            maps = self.postprocess_result(maps, template)[0].seg_logits.data
            fields: dict[str, Any] = dict(
                gated_channels=channels, gated_features=PixelData(data=maps[: len(channels)])
            )
            if len(maps) > len(channels):
                fields['assignments'] = PixelData(data=maps[len(channels) :])
            data_samples[index].set_data(fields)
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

    def _forward_window(
        self, crop: Tensor, requested: Sequence[int]
    ) -> tuple[Tensor, Context, Tensor]:
        """Return the logits of a window, its context and the maps of the requested images.

        The maps ``(len(requested), channels + num_codes, h, w)`` are the features before the gate
        and, if the encoder has a dictionary, the assignments; empty without requests.
        """
        logits, context, output = segment(self, crop)
        if not requested or output is None:
            return logits, context, logits.new_empty(0)
        maps = output.features[requested]
        assignments = self.decode_head.assign(output.projection[requested])
        if assignments is not None:
            maps = torch.cat([maps, assignments], dim=1)
        return logits, context, maps

    def _select_maps(self, maps: Tensor, channels: Tensor, size: tuple[int, int]) -> Tensor:
        """Return some channels and all assignments of maps ``(1, C, h, w)``, resized."""
        num_channels = self.decode_head.channels
        maps = torch.cat([maps[:, channels], maps[:, num_channels:]], dim=1)
        return resize(maps, size, mode='bilinear', align_corners=self.align_corners, warning=False)


def _metas(inputs: Tensor, data_samples: OptSampleList) -> list[dict[str, Any] | None]:
    """Return the metainfo of each image, or None for images without samples."""
    if data_samples is None:
        return [None] * len(inputs)
    return [data_sample.metainfo for data_sample in data_samples]


def _outer_channels(gate: Tensor) -> Tensor:
    """Return the channels with the strongest and the weakest gates, by decreasing gate."""
    order = gate.argsort(descending=True, stable=True)
    return torch.cat([order[:GATED_CHANNELS], order[-GATED_CHANNELS:]])
