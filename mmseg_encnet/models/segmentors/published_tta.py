"""The multi-scale evaluation that the published EncNet figures rest on.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 4, as the released
evaluator of PyTorch-Encoding does it. It differs from MMSegmentation's test-time augmentation in
all of its steps, and the figures of the two are not comparable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.decode_heads.encoding_head import EncodingHead
from mmseg_encnet.models.segmentors.suppression import presence_threshold, suppress_absent


@MODELS.register_module()
class PublishedTTAModel(BaseTTAModel):
    """Windows over several scales and their mirror images, each cut from the whole image.

    For every scale the normalised image is resized so that its long side is ``base_size * scale``,
    rounded up, and padded with black where it is smaller than the window. Windows start at
    multiples of the stride from the top left; the last ones keep their place and are padded. A
    window scores ``exp(logits + logits of the mirrored window, mirrored back)``. Scores are
    averaged where windows overlap, resized to the image (bilinear, aligned corners) and summed
    over the scales.

    The predicted samples have ``pred_sem_seg`` and ``seg_logits``, the logarithm of the summed
    scores. With an :class:`EncodingHead` they also have the ``gate`` and, if the head has the SE
    branch, the ``presence`` of each class. Over the windows of one scale and one side of the mirror
    the presence is the largest (a class is in the image if it is in one of them) and the gate is
    the mean; over the mirror images and the scales both are means. ``test_cfg.presence_threshold``
    of the segmentor keeps classes below it out of ``pred_sem_seg``; see
    :class:`ContextEncoderDecoder`. Context maps are not made.

    Window and stride are ``crop_size`` and ``stride`` of the segmentor's ``test_cfg``. The images
    have to come in their own size, one by one: in a config, ::

        tta_model = _base_.published_tta_model
        tta_pipeline = _base_.published_tta_pipeline

    makes this the evaluation of ``--tta``; ``tools/test.py --published-tta`` does so for one run.

    Args:
        module: The segmentor, or its config.
        base_size: Long side of the image at scale 1, in pixels.
        scales: The scales that are summed.
        flip: Whether to add the logits of the mirrored windows.
        **kwargs: Any other argument of :class:`mmengine.model.BaseTTAModel`.

    Raises:
        UserError: If the segmentor's ``test_cfg`` has no windows, or a ``presence_threshold`` that
            cannot work.
    """

    def __init__(
        self,
        module: dict | nn.Module,
        base_size: int = 520,
        scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
        flip: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(module, **kwargs)
        test_cfg = self.module.test_cfg
        missing = [key for key in ('crop_size', 'stride') if key not in (test_cfg or {})]
        if missing:
            raise UserError(
                f'test_cfg={test_cfg} of the segmentor has no '
                f'{" and no ".join(missing)}; the published evaluation moves windows '
                "over the image: set model.test_cfg=dict(mode='slide', "
                'crop_size=..., stride=...).'
            )
        presence_threshold(self.module)
        self.base_size = base_size
        self.scales = tuple(scales)
        self.flip = flip

    def score(self, image: Tensor) -> Tensor:
        """The summed scores of a normalised image.

        Args:
            image: ``(1, 3, H, W)``, in its own size.

        Returns:
            Scores ``(1, num_classes, H, W)``, positive; the class of a pixel has the largest.
        """
        return self.score_with_context(image)[0]

    def score_with_context(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """As :meth:`score`, with the ``gate`` and the ``presence`` as far as the head has them."""
        height, width = image.shape[2:]
        total: Tensor | None = None
        contexts = []
        for scale in self.scales:
            long_side = math.ceil(self.base_size * scale)
            if height > width:
                size = long_side, int(width * long_side / height + 0.5)
            else:
                size = int(height * long_side / width + 0.5), long_side
            score, context = self._score_windows(_resize(image, size))
            score = _resize(score, (height, width))
            total = score if total is None else total.add_(score)
            contexts.append(context)
        return total, {key: value.mean(dim=(0, 1)) for key, value in _stack(contexts).items()}

    @torch.no_grad()
    def test_step(self, data: dict) -> SampleList:
        """Predict a batch of images of any sizes, as ``pseudo_collate`` gives it.

        Returns:
            The given ``SegDataSample`` of each image, with the fields that the class names.
        """
        threshold = presence_threshold(self.module)
        predictions = []
        for inputs, data_sample in zip(data['inputs'], data['data_samples']):
            if not isinstance(inputs, Tensor):
                raise UserError(
                    'a list of augmented images came, the published evaluation makes '
                    'its scales itself; set tta_pipeline=_base_.published_tta_pipeline '
                    'beside tta_model.'
                )
            one = self.module.data_preprocessor(
                dict(inputs=[inputs], data_samples=[data_sample]), training=False
            )
            scores, context = self.score_with_context(one['inputs'])
            scores = scores[0]
            data_sample = one['data_samples'][0]
            data_sample.set_data(context)
            # Before the logarithm: a score of zero is still more than an absent class has.
            possible = (
                suppress_absent(scores, context['presence'], threshold) if threshold else scores
            )
            data_sample.set_data(
                dict(
                    pred_sem_seg=PixelData(data=possible.argmax(dim=0, keepdim=True)),
                    seg_logits=PixelData(data=scores.log_()),
                )
            )
            predictions.append(data_sample)
        return predictions

    def merge_preds(self, data_samples_list: list[SampleList]) -> SampleList:
        """Not used: scores of windows are merged before there are predictions."""
        raise NotImplementedError

    def _score_windows(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Score an image ``(1, 3, H, W)`` at one scale.

        Returns:
            Scores ``(1, num_classes, H, W)``, and by field the context of the image and of its
            mirror image, one row each.
        """
        crop_size, stride = self.module.test_cfg['crop_size'], self.module.test_cfg['stride']
        height, width = image.shape[2:]
        image = self._pad(image, crop_size)
        padded = image.shape[2:]
        tops, lefts = (
            range(0, max(side - crop, 0) + step, step)
            for side, crop, step in zip(padded, crop_size, stride)
        )
        total = image.new_zeros(1, self.module.out_channels, *padded)
        count = image.new_zeros(1, 1, *padded)
        contexts = []
        for top in tops:
            for left in lefts:
                window = image[:, :, top : top + crop_size[0], left : left + crop_size[1]]
                place = (..., slice(top, top + crop_size[0]), slice(left, left + crop_size[1]))
                score, context = self._score_window(self._pad(window, crop_size))
                total[place] += score[:, :, : window.shape[2], : window.shape[3]]
                count[place] += 1
                contexts.append(context)
        context = {
            key: value.amax(dim=0) if key == 'presence' else value.mean(dim=0)
            for key, value in _stack(contexts).items()
        }
        return (total / count)[:, :, :height, :width], context

    def _score_window(self, window: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        batch = torch.cat([window, window.flip(3)]) if self.flip else window
        metas = [dict(img_shape=window.shape[2:])] * len(batch)
        head = self.module.decode_head
        context = {}
        if isinstance(head, EncodingHead):
            output = head.forward_context(self.module.extract_feat(batch))
            logits = head.predict_by_feat(output.seg_logits, metas)
            context['gate'] = output.gate
            if head.use_se_loss:
                context['presence'] = output.se_logits.sigmoid()
        else:
            logits = self.module.encode_decode(batch, metas)
        if self.flip:
            logits = logits[:1] + logits[1:].flip(3)
        return logits.exp(), context

    def _pad(self, image: Tensor, size: Sequence[int]) -> Tensor:
        """Pad an image with black, at the bottom and to the right, to at least a size."""
        bottom, right = (max(want - have, 0) for want, have in zip(size, image.shape[2:]))
        if not bottom and not right:
            return image
        preprocessor = self.module.data_preprocessor
        black = (-preprocessor.mean / preprocessor.std).to(image)
        height, width = image.shape[2:]
        padded = black.expand(1, -1, height + bottom, width + right).clone()
        padded[:, :, :height, :width] = image
        return padded


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode='bilinear', align_corners=True)


def _stack(contexts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """By field, the values of all contexts along a new first axis."""
    return {key: torch.stack([context[key] for context in contexts]) for key in contexts[0]}
