"""The semantic encoding loss (SE loss) of EncNet.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 3.1: the context
branch predicts which classes are present in the image, so small and large objects count equally.
"""

from __future__ import annotations

import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_encnet.models.losses.over_processes import sum_over_processes


@MODELS.register_module()
class SemanticEncodingLoss(nn.Module):
    """Binary cross-entropy between predicted and true presence of every class.

    The loss is the mean over the images of all processes, equal in every process. Images without
    labelled pixels are excluded, because their presence is unknown; a batch of such images has
    loss zero.

    Args:
        loss_weight: Weight of the loss; 0.2 in the paper (section 4.1).
    """

    def __init__(self, loss_weight: float = 0.2) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, se_logits: Tensor, presence: Tensor) -> Tensor:
        """Return the weighted loss of a batch, a scalar.

        Args:
            se_logits: Logits ``(B, num_classes)`` of the SE branch.
            presence: 0/1 targets ``(B, num_classes)``, see
                :func:`mmseg_encnet.ops.presence_targets`.

        Raises:
            ValueError: The two shapes differ.
        """
        if se_logits.shape != presence.shape:
            raise ValueError(
                f'got SE logits of shape {tuple(se_logits.shape)} and presence targets of shape '
                f'{tuple(presence.shape)}, expected (batch, num_classes) for both.'
            )
        presence = presence.to(se_logits.dtype)
        loss = F.binary_cross_entropy_with_logits(se_logits, presence, reduction='none')
        labelled = presence.amax(dim=1)
        total, num_labelled = sum_over_processes((loss * labelled[:, None]).sum(), labelled.sum())
        num_terms = num_labelled.clamp(min=1) * se_logits.shape[1]
        return self.loss_weight * total / num_terms
