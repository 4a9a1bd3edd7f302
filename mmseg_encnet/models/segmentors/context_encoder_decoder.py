"""A segmentor whose predictions say what the context branch believes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

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
from mmseg_encnet.models.segmentors.suppression import label_pixels, presence_threshold

# The strongest and as many of the weakest gates whose channels are shown.
GATED_CHANNELS = 3


class _Window(NamedTuple):
    """A part of the network's input that one forward pass sees."""

    rows: slice
    columns: slice


class _WindowContext(NamedTuple):
    """What is kept of one window's forward pass over a batch.

    Attributes:
        window: Where it lies.
        gate: ``(B, channels)``.
        se_logits: ``(B, num_classes)``, or None without SE branch.
        features: Features ``(R, channels, h, w)`` before the gate, of the R images that asked for
            maps; None if there are none.
        assignments: Soft assignments ``(R, num_codes, h, w)`` of these; None also where the
            encoder assigns nothing.
    """

    window: _Window
    gate: Tensor
    se_logits: Tensor | None
    features: Tensor | None
    assignments: Tensor | None


@MODELS.register_module()
class ContextEncoderDecoder(EncoderDecoder):
    """mmseg's ``EncoderDecoder`` whose predictions also carry the context.

    With an :class:`EncodingHead`, every predicted ``SegDataSample`` has, beside ``pred_sem_seg``
    and ``seg_logits``:

    - ``presence``: probability ``(num_classes,)`` that each class occurs in the image, only if
      the head has the SE branch. In sliding-window mode the largest over the windows: a class is
      in the image if it is in one of them.
    - ``gate``: the gate gamma ``(channels,)``; in sliding-window mode the mean over the windows.

    Context maps come on request, from ``test_cfg=dict(context_maps=True)`` or from an image's
    metainfo ``context_maps``, which has the last word. They have the size of ``pred_sem_seg``, and
    like the logits they are averaged where windows overlap, freed of padding, flipped back and
    resized:

    - ``assignments``: ``PixelData`` ``(num_codes, H, W)``, the soft assignment of each pixel to the
      codewords, which sums to one; only if the encoder assigns pixels.
    - ``gated_features``: ``PixelData`` ``(6, H, W)``, the features before the gate of the three
      channels with the strongest gate and the three with the weakest, by falling gate; a network
      of fewer than six channels shows some of them twice.
    - ``gated_channels``: indices ``(6,)`` of these channels, int64.

    ``test_cfg=dict(presence_threshold=0.1)`` labels no pixel with a class whose presence is below
    the threshold; the most probable class always stays. It acts on ``pred_sem_seg`` alone:
    ``seg_logits`` are the network's.

    With any other head it behaves exactly like ``EncoderDecoder``.

    Raises:
        UserError: If ``test_cfg`` has a ``presence_threshold`` that is no probability, or the head
            has no SE branch.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        presence_threshold(self)

    def predict(self, inputs: Tensor, data_samples: OptSampleList = None) -> SampleList:
        """Predict a batch of images ``(B, 3, H, W)``; see the class for the added fields."""
        if not isinstance(self.decode_head, EncodingHead):
            return super().predict(inputs, data_samples)
        metas = (
            [None] * len(inputs)
            if data_samples is None
            else [data_sample.metainfo for data_sample in data_samples]
        )
        by_default = self.test_cfg.get('context_maps', False)
        wanted = [i for i, meta in enumerate(metas) if (meta or {}).get('context_maps', by_default)]
        seg_logits, contexts = self._infer(inputs, wanted)
        data_samples = self.postprocess_result(seg_logits, data_samples)

        gates = torch.stack([context.gate for context in contexts]).mean(dim=0)
        for data_sample, gate in zip(data_samples, gates):
            data_sample.set_data(dict(gate=gate))
        if self.decode_head.use_se_loss:
            se_logits = torch.stack([context.se_logits for context in contexts]).amax(dim=0)
            for data_sample, presence in zip(data_samples, se_logits.sigmoid()):
                data_sample.set_data(dict(presence=presence))
        threshold = presence_threshold(self)
        if threshold:
            for data_sample in data_samples:
                label_pixels(data_sample, threshold)
        for row, index in enumerate(wanted):
            channels = _outer_channels(gates[index])
            maps = self._context_maps(contexts, row, channels, inputs.shape[2:])
            # The toolbox undoes padding, flip and resizing of the maps as it does of logits.
            template = None if metas[index] is None else [SegDataSample(metainfo=metas[index])]
            maps = self.postprocess_result(maps, template)[0].seg_logits.data
            fields = dict(
                gated_channels=channels, gated_features=PixelData(data=maps[: len(channels)])
            )
            if len(maps) > len(channels):
                fields['assignments'] = PixelData(data=maps[len(channels) :])
            data_samples[index].set_data(fields)
        return data_samples

    def _infer(self, inputs: Tensor, wanted: Sequence[int]) -> tuple[Tensor, list[_WindowContext]]:
        """Class scores ``(B, num_classes, H, W)`` and the context of each window.

        The toolbox's window loop keeps to itself where a window lies, which maps need.
        """
        contexts = []

        def seg_logits() -> Iterator[tuple[_Window, Tensor]]:
            for window in self._windows(inputs.shape[2:]):
                crop = inputs[:, :, window.rows, window.columns]
                output = self.decode_head.forward_context(self.extract_feat(crop))
                features = assignments = None
                if wanted:
                    features = output.features[wanted]
                    assignments = self.decode_head.assign(output.projection[wanted])
                contexts.append(
                    _WindowContext(window, output.gate, output.se_logits, features, assignments)
                )
                yield window, output.seg_logits

        return self._average(seg_logits(), inputs.shape[2:]), contexts

    def _windows(self, size: Sequence[int]) -> list[_Window]:
        """The windows over an input ``(H, W)`` that the toolbox's inference would take."""
        mode = self.test_cfg.get('mode', 'whole')
        if mode == 'whole':
            return [_Window(*(slice(0, side) for side in size))]
        if mode != 'slide':
            raise UserError(
                f"test_cfg.mode={mode!r} came, 'whole' or 'slide' was expected; set one of them."
            )
        rows, columns = (
            _starts_and_stops(*lengths)
            for lengths in zip(size, self.test_cfg['crop_size'], self.test_cfg['stride'])
        )
        return [_Window(row, column) for row in rows for column in columns]

    def _average(self, maps: Iterable[tuple[_Window, Tensor]], size: Sequence[int]) -> Tensor:
        """Maps ``(B, c, H, W)`` of the whole input, averaged over the windows that see a pixel.

        Args:
            maps: For each window a map ``(B, c, h, w)`` of any resolution.
            size: ``(H, W)``.
        """
        total = count = None
        for window, part in maps:
            shape = tuple(side.stop - side.start for side in window)
            part = resize(
                part, size=shape, mode='bilinear', align_corners=self.align_corners, warning=False
            )
            if shape == tuple(size):
                return part
            if total is None:
                dtype = torch.promote_types(part.dtype, torch.float32)
                total = part.new_zeros(*part.shape[:2], *size, dtype=dtype)
                count = total.new_zeros(size)
            total[:, :, window.rows, window.columns] += part
            count[window.rows, window.columns] += 1
        return total / count

    def _context_maps(
        self, contexts: Sequence[_WindowContext], row: int, channels: Tensor, size: Sequence[int]
    ) -> Tensor:
        """The channels, and the assignments if any, ``(1, c, H, W)`` of one image's windows."""
        maps = []
        for context in contexts:
            part = context.features[row : row + 1, channels]
            if context.assignments is not None:
                part = torch.cat([part, context.assignments[row : row + 1]], dim=1)
            maps.append((context.window, part))
        return self._average(maps, size)


def _outer_channels(gate: Tensor) -> Tensor:
    """Indices of the channels with the strongest and the weakest gate, by falling gate."""
    order = gate.argsort(descending=True, stable=True)
    return torch.cat([order[:GATED_CHANNELS], order[-GATED_CHANNELS:]])


def _starts_and_stops(side: int, crop: int, stride: int) -> list[slice]:
    """Windows along one side; the last is moved inward, and none is longer than the side."""
    count = max(side - crop + stride - 1, 0) // stride + 1
    stops = (min(i * stride + crop, side) for i in range(count))
    return [slice(max(stop - crop, 0), stop) for stop in stops]
