"""Segmentor that adds the output of the context branch to its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import OptSampleList, SampleList
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.decode_heads.encoding_head import EncodingHead
from mmseg_encnet.models.segmentors.context import Context, merge_windows, segment
from mmseg_encnet.models.segmentors.suppression import label_pixels, presence_threshold
from mmseg_encnet.models.segmentors.windows import (
    Window,
    average_maps,
    place_windows,
    run_windows,
)

# Number of channels with the strongest gates, and with the weakest, in the context maps.
GATED_CHANNELS = 3


class _WindowOutput(NamedTuple):
    """What is kept of one window's forward pass over a batch.

    Attributes:
        context: Gate and presence.
        features: Features ``(R, channels, h, w)`` before the gate, of the R images whose maps were
            requested; None if R is 0.
        assignments: Soft assignments ``(R, num_codes, h, w)`` of these images; also None if the
            encoder has no dictionary.
    """

    context: Context
    features: Tensor | None
    assignments: Tensor | None


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

    With ``test_cfg=dict(presence_threshold=0.1)`` no pixel is labelled with a class whose presence
    is below the threshold, except for the most probable class. This affects ``pred_sem_seg``
    only; ``seg_logits`` remain those of the network.

    With any other head it behaves exactly like ``EncoderDecoder``.

    Raises:
        UserError: ``presence_threshold`` of ``test_cfg`` is not a probability, or the head has no
            SE branch.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        presence_threshold(self)

    def predict(self, inputs: Tensor, data_samples: OptSampleList = None) -> SampleList:
        """Predict a batch of images ``(B, 3, H, W)``; the class lists the added fields."""
        if not isinstance(self.decode_head, EncodingHead):
            return super().predict(inputs, data_samples)
        metas: list[dict[str, Any] | None] = (
            [None] * len(inputs)
            if data_samples is None
            else [data_sample.metainfo for data_sample in data_samples]
        )
        by_default = self.test_cfg.get('context_maps', False)
        requested = [
            i for i, meta in enumerate(metas) if (meta or {}).get('context_maps', by_default)
        ]
        windows = self._windows(inputs.shape[2:])
        seg_logits, outputs = run_windows(
            inputs, windows, lambda crop: self._forward_window(crop, requested)
        )
        data_samples = self.postprocess_result(seg_logits, data_samples)

        context = merge_windows([output.context for output in outputs])
        threshold = presence_threshold(self)
        for i, data_sample in enumerate(data_samples):
            data_sample.set_data({key: values[i] for key, values in context.items()})
            if threshold:
                label_pixels(data_sample, threshold)
        for row, index in enumerate(requested):
            channels = _outer_channels(context['gate'][index])
            maps = average_maps(
                windows,
                (
                    self._context_maps(output, row, channels, window)
                    for output, window in zip(outputs, windows)
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

    def _windows(self, size: Sequence[int]) -> list[Window]:
        """Return the windows of the toolbox's inference over an input ``(H, W)``."""
        mode = self.test_cfg.get('mode', 'whole')
        if mode == 'whole':
            return place_windows(size, crop_size=size, stride=size, shift_last=True)
        if mode != 'slide':
            raise UserError(f"test_cfg.mode must be 'whole' or 'slide', got {mode!r}.")
        return place_windows(
            size, self.test_cfg['crop_size'], self.test_cfg['stride'], shift_last=True
        )

    def _forward_window(
        self, crop: Tensor, requested: Sequence[int]
    ) -> tuple[Tensor, _WindowOutput]:
        logits, context, output = segment(self, crop)
        features = assignments = None
        if requested:
            features = output.features[requested]
            assignments = self.decode_head.assign(output.projection[requested])
        return logits, _WindowOutput(context, features, assignments)

    def _context_maps(
        self, output: _WindowOutput, row: int, channels: Tensor, window: Window
    ) -> Tensor:
        """Return the channels and any assignments ``(1, c, h, w)`` of one image in a window."""
        assert output.features is not None
        maps = output.features[row : row + 1, channels]
        if output.assignments is not None:
            maps = torch.cat([maps, output.assignments[row : row + 1]], dim=1)
        return resize(
            maps, window.size, mode='bilinear', align_corners=self.align_corners, warning=False
        )


def _outer_channels(gate: Tensor) -> Tensor:
    """Return the channels with the strongest and the weakest gates, by decreasing gate."""
    order = gate.argsort(descending=True, stable=True)
    return torch.cat([order[:GATED_CHANNELS], order[-GATED_CHANNELS:]])
