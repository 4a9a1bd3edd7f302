"""Cross-entropy whose mean need not depend on the distribution of the batch over processes.

PyTorch-Encoding, the released code of EncNet, averages over the labelled pixels of each GPU and
then averages the GPUs' means (``DataParallelCriterion``; ``train_dist.py`` likewise). By default
this loss departs from it on more than one GPU; ``average='process'`` gives the original's average.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from mmseg.models.losses import CrossEntropyLoss
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.losses.over_processes import sum_over_processes
from mmseg_encnet.ops import CrossEntropySums, cross_entropy_sums


@MODELS.register_module()
class SyncCrossEntropyLoss(CrossEntropyLoss):
    """Mean cross-entropy over the labelled pixels, of all processes or of each.

    mmseg's ``CrossEntropyLoss(avg_non_ignore=True)`` averages over the labelled pixels of each
    process, and ``DistributedDataParallel`` averages these means, so a pixel weighs more in
    processes with fewer labelled pixels. Here by default every labelled pixel of the batch has the
    same weight, and every process reports the loss of the whole batch. With ``average='process'``
    the average is the toolbox's, which is PyTorch-Encoding's too, and every process reports its
    own. In a single process all of them are equal up to rounding. This loss never waits for the
    device.

    A batch without labelled pixels has loss zero.

    Args:
        use_sigmoid: Whether to use binary cross-entropy, one decision per logit.
        class_weight: Weight of each class, or the name of a file with the weights. The sum is then
            divided by the weights of the labelled pixels. With ``use_sigmoid``, the factor of the
            loss of each class where it is present (``pos_weight`` in PyTorch).
        loss_weight: Weight of the loss.
        loss_name: Name of the loss in the log.
        average: ``'all'`` for the mean over the labelled pixels of all processes, ``'process'`` for
            the mean over those of each process.

    Raises:
        UserError: ``average`` is unknown.
    """

    def __init__(
        self,
        use_sigmoid: bool = False,
        class_weight: list[float] | str | None = None,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_ce',
        average: Literal['all', 'process'] = 'all',
    ) -> None:
        super().__init__(
            use_sigmoid=use_sigmoid,
            class_weight=class_weight,
            loss_weight=loss_weight,
            loss_name=loss_name,
            avg_non_ignore=True,
        )
        if average not in ('all', 'process'):
            raise UserError(f'unknown average {average!r}; choose one of all, process.')
        self.average = average
        weights: list[Any] | None = getattr(self, 'class_weight')  # noqa: B009  (untyped)
        if use_sigmoid and weights is not None:
            # (C, 1, 1), because the toolbox broadcasts it against (B, C, H, W).
            self.class_weight = [[[weight]] for weight in weights]

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction_override: Literal['none'] | None = None,
    ) -> Tensor:
        """Return the weighted loss of the batch, a scalar.

        Args:
            cls_score: Logits ``(B, num_classes, H, W)``; ``(B, 1, H, W)`` for a binary decision.
            label: Class indices ``(B, H, W)``, int64.
            weight: Weight of each pixel ``(B, H, W)``. As in mmseg, it does not change the number
                that the sum is divided by.
            ignore_index: Label of unlabelled pixels.
            reduction_override: ``'none'`` for the loss of each pixel ``(B, H, W)``, as
                ``OHEMPixelSampler`` needs it.
        """
        if reduction_override == 'none':
            return super().forward(
                cls_score,
                label,
                weight,
                reduction_override=reduction_override,
                ignore_index=ignore_index,
            )
        # The kernel for the CPU copies the logits, which pays off for smaller ones.
        sums = sums_of_loss(
            self, cls_score, label, ignore_index=ignore_index, pixel_weight=weight, backend='strips'
        )
        return self.average_of(sums.total, sums.divisor)

    def average_of(self, total: Tensor, count: Tensor) -> Tensor:
        """Return the loss from the sum of this process's losses and what it is divided by."""
        if self.average == 'all':
            total, count = sum_over_processes(total, count)
        return self.loss_weight * total / (count + torch.finfo(torch.float32).eps)


def sums_of_loss(
    loss: CrossEntropyLoss,
    logits: Tensor,
    label: Tensor,
    *,
    ignore_index: int,
    align_corners: bool = False,
    pixel_weight: Tensor | None = None,
    backend: str = 'auto',
) -> CrossEntropySums:
    """Return the sums that a cross-entropy of a config averages.

    Args:
        loss: ``CrossEntropyLoss`` or ``SyncCrossEntropyLoss``; with ``use_sigmoid``, only the
            latter with class weights.
        logits: ``(B, C, h, w)``.
        label: Class indices ``(B, H, W)``, int64.
        ignore_index: Label of unlabelled pixels. With ``use_sigmoid``, negative labels are, too.
        align_corners: As in ``F.interpolate``.
        pixel_weight: Weight of each pixel ``(B, H, W)``.
        backend: As in :func:`mmseg_encnet.ops.cross_entropy_sums`.

    Returns:
        The sums. With ``use_sigmoid``, the divisor is the number of decisions, one for each score
        and labelled pixel.
    """
    class_weight = class_weight_tensor(loss, logits)
    if loss.use_sigmoid:
        label = label.masked_fill(label < 0, ignore_index)
        if class_weight is not None:
            class_weight = class_weight.flatten()
            if logits.shape[1] == 1:
                # The operator has a weight for class 0, too.
                class_weight = torch.cat([torch.ones_like(class_weight), class_weight])
    sums = cross_entropy_sums(
        logits,
        label,
        align_corners=align_corners,
        ignore_index=ignore_index,
        class_weight=class_weight,
        pixel_weight=pixel_weight,
        use_sigmoid=loss.use_sigmoid,
        backend=backend,
    )
    if loss.use_sigmoid:
        decisions = sums.labelled.to(sums.divisor.dtype) * logits.shape[1]
        sums = sums._replace(divisor=decisions)
    return sums


def class_weight_tensor(loss: CrossEntropyLoss, logits: Tensor) -> Tensor | None:
    """Return the class weights of a loss on the device of the logits, without waiting for it."""
    if loss.class_weight is None:
        return None
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return torch.as_tensor(loss.class_weight, dtype=dtype).to(logits.device, non_blocking=True)
