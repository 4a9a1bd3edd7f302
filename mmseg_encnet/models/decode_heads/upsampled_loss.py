"""Decode heads whose cross-entropy needs no logits of the size of the labels."""

from __future__ import annotations

import types

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.labels import label_pixels
from mmseg_encnet.models.losses.from_sums import (
    accuracy_from_sums,
    loss_from_sums,
    needs_sums_alone,
)
from mmseg_encnet.models.losses.sync_cross_entropy_loss import sums_of_loss
from mmseg_encnet.models.pixel_samplers import BoundaryPixelSampler


class UpsampledLossDecodeHead(BaseDecodeHead):
    """Base of decode heads that compute the cross-entropy without resizing the logits.

    The losses and their names are those of the toolbox. If all of them are ``CrossEntropyLoss`` or
    ``SyncCrossEntropyLoss`` and there is no pixel sampler that reads the logits,
    :func:`mmseg_encnet.ops.cross_entropy_sums` computes them from the logits of the head; otherwise
    the logits are resized as in the toolbox. Neither waits for the device. With a single score,
    ``acc_seg`` compares the classes at the head's threshold; the toolbox counts every pixel as
    class 0 there.
    """

    def loss_by_feat(  # type: ignore[override]
        self, seg_logits: Tensor, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Return the losses of all ``loss_decode`` by name, and the pixel accuracy ``acc_seg``."""
        label = self._stack_batch_gt(batch_data_samples).squeeze(1)
        losses = self.loss_decode
        losses = list(losses) if isinstance(losses, nn.ModuleList) else [losses]
        found: dict[str, Tensor] = {}

        def add(loss: nn.Module, value: Tensor) -> None:
            name = str(loss.loss_name)
            found[name] = found[name] + value if name in found else value

        from_labels = self.sampler is None or isinstance(self.sampler, BoundaryPixelSampler)
        if from_labels and all(map(needs_sums_alone, losses)):
            pixel_weight = None if self.sampler is None else self.sampler.weights(label[:, None])
            for loss in losses:
                sums = sums_of_loss(
                    loss,
                    seg_logits,
                    label,
                    align_corners=self.align_corners,
                    ignore_index=self.ignore_index,
                    pixel_weight=pixel_weight,
                )
                add(loss, loss_from_sums(loss, sums, label.numel(), self.out_channels))
            if self.out_channels > 1:
                found['acc_seg'] = accuracy_from_sums(sums.correct, sums.labelled)
            else:
                found['acc_seg'] = self._accuracy(self._resized(seg_logits.detach(), label), label)
            return found
        seg_logits = self._resized(seg_logits, label)
        weight = None if self.sampler is None else self.sampler.sample(seg_logits, label[:, None])
        for loss in losses:
            add(loss, loss(seg_logits, label, weight=weight, ignore_index=self.ignore_index))
        found['acc_seg'] = self._accuracy(seg_logits, label)
        return found

    def _resized(self, seg_logits: Tensor, label: Tensor) -> Tensor:
        return resize(
            seg_logits, size=label.shape[1:], mode='bilinear', align_corners=self.align_corners
        )

    def _accuracy(self, seg_logits: Tensor, label: Tensor) -> Tensor:
        scores = seg_logits.sigmoid() if self.out_channels == 1 else seg_logits
        classes = label_pixels(scores, self.threshold)[:, 0]
        labelled = label != self.ignore_index
        return accuracy_from_sums(((classes == label) & labelled).sum(), labelled.sum())


@MODELS.register_module(name='UpsampledLossHead')
def build_upsampled_loss_head(head_type: str, **kwargs) -> BaseDecodeHead:
    """Build a decode head of the toolbox whose cross-entropy needs no resized logits.

    In a config, replace ``type='SegformerHead'`` by ``type='UpsampledLossHead',
    head_type='SegformerHead'``. Parameters, state-dict keys, losses and their names stay the same.
    Heads that compute all of their losses themselves, such as ``Mask2FormerHead``, do not change.

    Args:
        head_type: Registered name of a decode head.
        **kwargs: Its arguments.

    Raises:
        UserError: ``head_type`` is not a decode head.
    """
    head = MODELS.get(head_type)
    if not (isinstance(head, type) and issubclass(head, BaseDecodeHead)):
        raise UserError(
            f'got head_type={head_type!r}, expected a registered decode head; choose one such as '
            'SegformerHead.'
        )
    if not issubclass(head, UpsampledLossDecodeHead):
        # Before BaseDecodeHead and after all others, whose own losses then contain this one.
        head = types.new_class(head.__name__, (head, UpsampledLossDecodeHead))
    return head(**kwargs)
