"""A segmentor whose predictions say what the context branch believes."""

from __future__ import annotations

import torch
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.utils import OptSampleList, SampleList
from torch import Tensor

from ..decode_heads.encoding_head import EncodingHead, HeadOutput


class _RecordingMetas(list):
    """The image metas of one call, with room for the context of each window.

    The toolbox hands the list of metas unchanged through its window loop down to
    ``encode_decode``. Carrying the context out on it keeps the module free of state between
    calls, so several threads can predict with one model.
    """

    def __init__(self, metas: list[dict]) -> None:
        super().__init__(metas)
        self.outputs: list[HeadOutput] = []


@MODELS.register_module()
class ContextEncoderDecoder(EncoderDecoder):
    """mmseg's ``EncoderDecoder`` whose predictions also carry the context.

    With an :class:`EncodingHead`, every predicted ``SegDataSample`` has, beside ``pred_sem_seg``
    and ``seg_logits``:

    - ``presence``: probability ``(num_classes,)`` that each class occurs in the image, only if
      the head has the SE branch. In sliding-window mode the largest over the windows: a class is
      in the image if it is in one of them.
    - ``gate``: the gate gamma ``(channels,)``; in sliding-window mode the mean over the windows.

    With any other head it behaves exactly like ``EncoderDecoder``.
    """

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        if not isinstance(batch_img_metas, _RecordingMetas):
            return super().encode_decode(inputs, batch_img_metas)
        output = self.decode_head.forward_context(self.extract_feat(inputs))
        batch_img_metas.outputs.append(output)
        return self.decode_head.predict_by_feat(output.seg_logits, batch_img_metas)

    def predict(self, inputs: Tensor, data_samples: OptSampleList = None) -> SampleList:
        """Predict a batch of images ``(B, 3, H, W)``; see the class for the added fields."""
        if not isinstance(self.decode_head, EncodingHead):
            return super().predict(inputs, data_samples)
        if data_samples is None:
            size = inputs.shape[2:]
            metas = [
                dict(ori_shape=size, img_shape=size, pad_shape=size, padding_size=[0] * 4)
                for _ in inputs
            ]
        else:
            metas = [data_sample.metainfo for data_sample in data_samples]
        metas = _RecordingMetas(metas)
        seg_logits = self.inference(inputs, metas)
        data_samples = self.postprocess_result(seg_logits, data_samples)

        gate = torch.stack([output.gate for output in metas.outputs]).mean(dim=0)
        for data_sample, value in zip(data_samples, gate):
            data_sample.set_data(dict(gate=value))
        if self.decode_head.use_se_loss:
            se_logits = torch.stack([output.se_logits for output in metas.outputs])
            for data_sample, value in zip(data_samples, se_logits.amax(dim=0).sigmoid()):
                data_sample.set_data(dict(presence=value))
        return data_samples
