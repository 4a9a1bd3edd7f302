"""Cross-entropy whose mean does not depend on the distribution of the batch over processes.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018: the released code averages
over the labelled pixels of each GPU and then averages the GPUs' means, as
``CrossEntropyLoss(avg_non_ignore=True)`` does. This loss departs from it on more than one GPU.
"""

from __future__ import annotations

import torch
from mmengine.dist import get_world_size
from mmseg.models.losses import CrossEntropyLoss
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_encnet.models.losses.over_processes import sum_over_processes


@MODELS.register_module()
class SyncCrossEntropyLoss(CrossEntropyLoss):
    """Mean cross-entropy over the labelled pixels of all processes.

    mmseg's ``CrossEntropyLoss(avg_non_ignore=True)`` averages over the labelled pixels of each
    process, and ``DistributedDataParallel`` averages these means, so a pixel weighs more in
    processes with fewer labelled pixels. Here every labelled pixel of the batch has the same
    weight, and every process reports the loss of the whole batch. In a single process the results
    are bitwise equal.

    A batch without labelled pixels has loss zero.

    Args:
        use_sigmoid: Whether to use binary cross-entropy, one decision per logit.
        class_weight: Weight of each class, or the name of a file with the weights. The sum is then
            divided by the weights of the labelled pixels.
        loss_weight: Weight of the loss.
        loss_name: Name of the loss in the log.
    """

    def __init__(
        self,
        use_sigmoid: bool = False,
        class_weight: list[float] | str | None = None,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_ce',
    ) -> None:
        super().__init__(
            use_sigmoid=use_sigmoid,
            class_weight=class_weight,
            loss_weight=loss_weight,
            loss_name=loss_name,
            avg_non_ignore=True,
        )

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
    ) -> Tensor:
        """Return the weighted loss of the batch, a scalar.

        Args:
            cls_score: Logits ``(B, num_classes, H, W)``; ``(B, 1, H, W)`` for a binary decision.
            label: Class indices ``(B, H, W)``, int64.
            weight: Weight of each pixel ``(B, H, W)``. As in mmseg, it does not change the number
                that the sum is divided by.
            ignore_index: Label of unlabelled pixels.
        """
        count = self._count(cls_score, label, ignore_index)
        if get_world_size() == 1 and count > 0:
            return super().forward(
                cls_score, label, weight, avg_factor=count.item(), ignore_index=ignore_index
            )
        # A process without labelled pixels must take part in the collective call, but mmseg's
        # binary cross-entropy fails without labels.
        if count > 0:
            total = super().forward(
                cls_score, label, weight, reduction_override='sum', ignore_index=ignore_index
            )
        else:
            # An empty sum is zero even if the logits are not finite.
            total = cls_score[:0].sum(dtype=torch.promote_types(cls_score.dtype, torch.float32))
        total, count = sum_over_processes(total, count)
        return total / (count + torch.finfo(torch.float32).eps)

    def _count(self, cls_score: Tensor, label: Tensor, ignore_index: int) -> Tensor:
        """Return what the sum of this process's losses is divided by."""
        labelled = label != ignore_index
        if self.use_sigmoid:
            # One decision per class and labelled pixel.
            return (labelled & (label >= 0)).sum() * (cls_score.numel() // label.numel())
        if self.class_weight is None:
            return labelled.sum()
        return cls_score.new_tensor(self.class_weight)[label[labelled]].sum()
