"""Multi-scale evaluation of the published EncNet results.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 4, as implemented in
the evaluator of PyTorch-Encoding. It differs from MMSegmentation's test-time augmentation in every
step; do not compare results of the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.labels import both_scores
from mmseg_encnet.models.segmentors.context import Context, merge_views, merge_windows, segment
from mmseg_encnet.models.segmentors.heads import labelling_head
from mmseg_encnet.models.segmentors.score_map import label_by_parts, wants_scores
from mmseg_encnet.models.segmentors.suppression import (
    absent_classes,
    label_sample,
    presence_threshold,
)
from mmseg_encnet.models.segmentors.windows import average_maps, pad, place_windows


@MODELS.register_module()
class PublishedTTAModel(BaseTTAModel):
    """Evaluates windows of the image and of its mirror image at several scales.

    For each scale the normalised image is resized so that its long side is ``base_size * scale``,
    rounded up, and padded with black to at least the window size. Windows start at multiples of
    the stride from the top left; those that exceed the image are padded, not shifted. The score of
    a window is ``exp(logits + logits of the mirrored window, mirrored back)``. Scores are averaged
    where windows overlap, resized to the image (bilinear, aligned corners) and summed over the
    scales.

    The predicted samples have ``pred_sem_seg`` and ``seg_logits``, the logarithm of the summed
    scores. With an :class:`EncodingHead` they also have the ``gate``, and with its SE branch or
    a :class:`PresenceHead` the ``presence`` of each class, merged as
    :mod:`mmseg_encnet.models.segmentors.context` defines; ``test_cfg.presence_threshold`` of the
    segmentor works as in :class:`ContextEncoderDecoder`, and so does
    ``keep_seg_logits=False``. Context maps are not supported.

    A single score for two classes is the logit of class 1; the logit of the head's threshold is
    used as that of class 0, so views that agree give the same labels as each of them. The
    predictions then have a score for both classes.

    Window and stride are ``crop_size`` and ``stride`` of the segmentor's ``test_cfg``. Images must
    be passed one by one in their original size. In a config, ::

        tta_model = _base_.published_tta_model
        tta_pipeline = _base_.published_tta_pipeline

    makes this the evaluation of ``--tta``; ``tools/test.py --published-tta`` does the same for a
    single run.

    Args:
        module: The segmentor or its config.
        base_size: Long side of the image at scale 1, in pixels.
        scales: Scales to sum over.
        flip: Whether to add the logits of the mirrored windows.
        **kwargs: Other arguments of :class:`mmengine.model.BaseTTAModel`.

    Raises:
        UserError: ``test_cfg`` of the segmentor has no windows, or its ``presence_threshold``
            cannot be applied.
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
                f'got test_cfg={test_cfg} without {" and ".join(missing)}, expected the windows of '
                "the published evaluation; set model.test_cfg=dict(mode='slide', crop_size=..., "
                'stride=...).'
            )
        presence_threshold(self.module)
        self.base_size = base_size
        self.scales = tuple(scales)
        self.flip = flip

    def score(self, image: Tensor) -> Tensor:
        """Return the summed scores of a normalised image.

        Args:
            image: ``(1, 3, H, W)``, in its original size.

        Returns:
            Scores ``(1, num_classes, H, W)``, positive; the class of a pixel has the largest.
        """
        return self.score_with_context(image)[0]

    def score_with_context(self, image: Tensor) -> tuple[Tensor, Context]:
        """Return :meth:`score`, and ``gate`` and ``presence`` if a head predicts them."""
        scores, context = self._run(image)
        return scores(slice(None))[None], context

    def _run(self, image: Tensor) -> tuple[Callable[[slice], Tensor], Context]:
        """Run the network on all windows of all scales.

        Returns:
            A function that returns the scores ``(c, H, W)`` of a range of classes, and the context.
        """
        height, width = image.shape[2:]
        scales, contexts = [], []
        for scale in self.scales:
            long_side = math.ceil(self.base_size * scale)
            if height > width:
                size = long_side, int(width * long_side / height + 0.5)
            else:
                size = int(height * long_side / width + 0.5), long_side
            scores, context = self._run_scale(_resize(image, size))
            scales.append(scores)
            contexts.append(context)

        def summed(classes: slice) -> Tensor:
            parts = (_resize(scores(classes), (height, width)) for scores in scales)
            return reduce(torch.Tensor.add_, parts)[0]

        return summed, merge_views(contexts)

    @torch.no_grad()
    def test_step(self, data: dict) -> SampleList:
        """Predict a batch of images of any sizes, as returned by ``pseudo_collate``.

        Returns:
            The given ``SegDataSample`` of each image with the fields that the class lists.
        """
        predictions = []
        for inputs, data_sample in zip(data['inputs'], data['data_samples']):
            if not isinstance(inputs, Tensor):
                raise UserError(
                    'got a list of augmented images, expected one image: the published evaluation '
                    'creates its scales itself; set tta_pipeline=_base_.published_tta_pipeline '
                    'with tta_model.'
                )
            one = self.module.data_preprocessor(
                dict(inputs=[inputs], data_samples=[data_sample]), training=False
            )
            size = one['inputs'].shape[2:]
            # Not kept while the image is labelled.
            scores, context = self._run(one.pop('inputs'))
            data_sample = one['data_samples'][0]
            data_sample.set_data(context)
            self._label(data_sample, scores, size)
            predictions.append(data_sample)
        return predictions

    def merge_preds(self, data_samples_list: list[SampleList]) -> SampleList:
        """Raise: scores of windows are merged before they become predictions."""
        raise NotImplementedError

    def _label(
        self,
        data_sample: SegDataSample,
        scores: Callable[[slice], Tensor],
        size: Sequence[int],
    ) -> None:
        """Set ``pred_sem_seg`` and, if requested, ``seg_logits``."""
        threshold = presence_threshold(self.module)
        if not wants_scores(self.module, data_sample.metainfo):
            absent = absent_classes(data_sample.presence, threshold) if threshold else None
            labels = label_by_parts(scores, self.module.num_classes, size, absent)
            data_sample.set_data(dict(pred_sem_seg=PixelData(data=labels)))
            return
        data_sample.set_data(dict(seg_logits=PixelData(data=scores(slice(None)))))
        # Before the logarithm, where a score that underflows to zero still exceeds that of a
        # suppressed class.
        label_sample(data_sample, self.module)
        data_sample.seg_logits.data.log_()

    def _run_scale(self, image: Tensor) -> tuple[Callable[[slice], Tensor], Context]:
        """Run the network on the windows of an image ``(1, 3, H, W)`` at one scale.

        Returns:
            A function that returns the scores ``(1, c, H, W)`` of a range of classes, and the
            context with one row for the image and, if ``flip``, one for its mirror image.
        """
        height, width = image.shape[2:]
        crop_size, stride = self.module.test_cfg['crop_size'], self.module.test_cfg['stride']
        preprocessor = self.module.data_preprocessor
        black = image.new_zeros(1, 1, 1)
        if getattr(preprocessor, 'mean', None) is not None:
            black = -preprocessor.mean / preprocessor.std
        image = pad(image, crop_size, black)
        windows = place_windows(image.shape[2:], crop_size, stride, shift_last=False)
        logits, contexts = [], []
        threshold = getattr(labelling_head(self.module), 'threshold', None)
        for window in windows:
            crop = pad(image[:, :, window.rows, window.columns], crop_size, black)
            output = segment(self.module, torch.cat([crop, crop.flip(3)]) if self.flip else crop)
            logits.append(both_scores(output.logits, threshold))
            contexts.append(output.context)

        def averaged(classes: slice) -> Tensor:
            maps = (self._score_window(part[:, classes], crop_size) for part in logits)
            return average_maps(windows, maps, image.shape[2:])[:, :, :height, :width]

        return averaged, merge_windows(contexts)

    def _score_window(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Return the scores ``(1, c, H, W)`` of a window, given its logits ``(B, c, h, w)``."""
        logits = resize(
            logits,
            size=size,
            mode='bilinear',
            align_corners=self.module.align_corners,
            warning=False,
        )
        if self.flip:
            logits = logits[:1] + logits[1:].flip(3)
        return logits.exp()


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode='bilinear', align_corners=True)
