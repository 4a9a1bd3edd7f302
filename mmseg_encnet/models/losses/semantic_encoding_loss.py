"""The semantic encoding loss (SE loss) of EncNet.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 3.1: the context
branch predicts which classes are present in the image, so small and large objects count equally.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_encnet.models.losses.over_processes import sum_over_processes


@MODELS.register_module()
class SemanticEncodingLoss(nn.Module):
    """Binary cross-entropy between predicted and true presence of every class.

    The loss is the mean over the images of all processes, equal in every process.

    Args:
        loss_weight: Weight of the loss; 0.2 in the paper (section 4.1).
        skip_unlabelled: Whether to exclude images without labelled pixels, because their presence
            is unknown; a batch of such images then has loss zero. PyTorch-Encoding includes them,
            as images without any class.
    """

    def __init__(self, loss_weight: float = 0.2, skip_unlabelled: bool = True) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.skip_unlabelled = skip_unlabelled

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
        counted = presence.amax(dim=1)
        if not self.skip_unlabelled:
            counted = torch.ones_like(counted)
        total, num_counted = sum_over_processes((loss * counted[:, None]).sum(), counted.sum())
        num_terms = num_counted.clamp(min=1) * se_logits.shape[1]
        return self.loss_weight * total / num_terms
