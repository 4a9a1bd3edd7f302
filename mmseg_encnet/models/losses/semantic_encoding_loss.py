"""The semantic encoding loss (SE loss) of EncNet.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 3.1: the context
branch predicts which classes are present in the image, so small and large objects count equally.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.losses.over_processes import sum_over_processes


@MODELS.register_module()
class SemanticEncodingLoss(nn.Module):
    """Binary cross-entropy between predicted and true presence of every class.

    The loss is the mean over the images of all processes, equal in every process, and over the
    classes. The term of a class with predicted presence p and target y, 0 or 1, is

    ``-w y (1 - p)^g log(p) - (1 - y) q^h log(1 - q)`` with ``q = max(p - margin, 0)``.

    By default w is 1 and g, h and the margin are 0, which is the loss of EncNet. Other choices:

    - class balance, ``pos_weight`` w;
    - focal loss, ``gamma=2`` for g = h = 2 (Lin et al., "Focal Loss for Dense Object Detection",
      ICCV 2017, equation 4; its balance alpha is ``pos_weight=alpha / (1 - alpha)`` with the loss
      weight times 1 - alpha);
    - asymmetric loss, ``gamma=(0, 4), margin=0.05`` (Ridnik et al., "Asymmetric Loss For
      Multi-Label Classification", ICCV 2021);
    - label smoothing, which replaces y by ``y (1 - s) + s / 2`` (Szegedy et al., "Rethinking the
      Inception Architecture for Computer Vision", CVPR 2016, section 7, for two outcomes).

    They can be combined. Gradients also flow through the focusing factors.

    Args:
        loss_weight: Weight of the loss; 0.2 in the paper (section 4.1).
        skip_unlabelled: Whether to exclude images without labelled pixels, because their presence
            is unknown; a batch of such images then has loss zero. PyTorch-Encoding includes them,
            as images without any class.
        pos_weight: Weight of the loss where a class is present: a number, one for each class, or
            the arguments of :func:`mmseg_encnet.models.losses.balanced_pos_weight`, such as
            ``dict(images_per_class=[90, 10], num_images=100)``.
        gamma: Focusing exponent, or one for present and one for absent classes.
        margin: Presence below which an absent class costs nothing.
        label_smoothing: Smoothing s of the targets, in [0, 1).

    Raises:
        UserError: An argument is outside its range, or the counts of ``pos_weight`` are
            inconsistent.
    """

    pos_weight: Tensor | None

    def __init__(
        self,
        loss_weight: float = 0.2,
        skip_unlabelled: bool = True,
        pos_weight: float | Sequence[float] | dict[str, Any] | None = None,
        gamma: float | Sequence[float] = 0.0,
        margin: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        gammas = list(gamma) if isinstance(gamma, Sequence) else [gamma, gamma]
        if len(gammas) != 2 or not all(math.isfinite(value) and value >= 0 for value in gammas):
            raise UserError(
                f'got gamma={gamma}, expected a non-negative number, or one for present and one '
                'for absent classes; 2 is common for the focal loss, (0, 4) for the asymmetric one.'
            )
        if not 0 <= margin < 1:
            raise UserError(f'margin must be at least 0 and less than 1, got {margin}; use 0.05.')
        if not 0 <= label_smoothing < 1:
            raise UserError(
                f'label_smoothing must be at least 0 and less than 1, got {label_smoothing}; use '
                '0.1.'
            )
        self.loss_weight = loss_weight
        self.skip_unlabelled = skip_unlabelled
        self.gamma_present, self.gamma_absent = gammas
        self.margin = margin
        self.label_smoothing = label_smoothing
        # Not part of checkpoints, which fit any choice of the loss.
        self.register_buffer('pos_weight', _pos_weight(pos_weight), persistent=False)

    def forward(self, se_logits: Tensor, presence: Tensor) -> Tensor:
        """Return the weighted loss of a batch, a scalar.

        Args:
            se_logits: Logits ``(B, num_classes)`` of the SE branch.
            presence: 0/1 targets ``(B, num_classes)``, see
                :func:`mmseg_encnet.ops.presence_targets`.

        Raises:
            ValueError: The two shapes differ, or ``pos_weight`` is for another number of classes.
        """
        if se_logits.shape != presence.shape:
            raise ValueError(
                f'got SE logits of shape {tuple(se_logits.shape)} and presence targets of shape '
                f'{tuple(presence.shape)}, expected (batch, num_classes) for both.'
            )
        presence = presence.to(se_logits.dtype)
        counted = presence.amax(dim=1)
        if not self.skip_unlabelled:
            counted = torch.ones_like(counted)
        if self.label_smoothing:
            presence = presence * (1 - self.label_smoothing) + self.label_smoothing / 2
        loss = self._terms(se_logits, presence)
        total, num_counted = sum_over_processes((loss * counted[:, None]).sum(), counted.sum())
        num_terms = num_counted.clamp(min=1) * se_logits.shape[1]
        return self.loss_weight * total / num_terms

    def _terms(self, logits: Tensor, presence: Tensor) -> Tensor:
        """Return the loss of every class in every image, ``(B, num_classes)``."""
        if not (self.gamma_present or self.gamma_absent or self.margin):
            weight = None if self.pos_weight is None else self.pos_weight.to(logits.dtype)
            return F.binary_cross_entropy_with_logits(
                logits, presence, reduction='none', pos_weight=weight
            )
        # In single precision at least: powers of small probabilities underflow half precision.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        present = F.softplus(-logits)
        if self.pos_weight is not None:
            present = present * self.pos_weight.to(logits.dtype)
        if self.gamma_present:
            # (1 - p)^g, whose gradient is finite where 1 - p underflows.
            present = present * torch.exp(-self.gamma_present * F.softplus(logits))
        if self.margin:
            # Finite gradients also for exponents below 1.
            shifted = (logits.sigmoid() - self.margin).clamp(min=torch.finfo(logits.dtype).tiny)
            absent = -torch.log1p(-shifted) * shifted**self.gamma_absent
        else:
            absent = F.softplus(logits)
            if self.gamma_absent:
                absent = absent * torch.exp(-self.gamma_absent * F.softplus(-logits))
        return presence * present + (1 - presence) * absent


def balanced_pos_weight(
    images_per_class: Sequence[int], num_images: int, limit: float = 10.0
) -> list[float]:
    """Return the weights that give present and absent classes the same total weight.

    ``w_c = (N - n_c) / n_c`` for a class in n_c of N images, within ``1 / limit`` and ``limit``.
    Without a limit a class in every image would never be learnt, and one in no image would have an
    infinite weight.

    Args:
        images_per_class: Number of training images that contain each class;
            ``tools/analysis_tools/dataset_stats.py`` counts them.
        num_images: Number N of training images.
        limit: Largest weight, at least 1.

    Raises:
        UserError: A count is negative or exceeds the number of images, or the limit is below 1.

    Example:
        >>> from mmseg_encnet.models.losses import balanced_pos_weight
        >>> balanced_pos_weight([80, 20, 1], num_images=100)
        [0.25, 4.0, 10.0]
    """
    if limit < 1:
        raise UserError(f'limit must be at least 1, got {limit}; 10 is the default.')
    wrong = [count for count in images_per_class if not 0 <= count <= num_images]
    if wrong or not len(images_per_class):
        raise UserError(
            f'got images_per_class={list(images_per_class)} with num_images={num_images}, expected '
            'the number of images of each class, at most num_images; count them with '
            'tools/analysis_tools/dataset_stats.py.'
        )
    return [
        min(max((num_images - count) / count if count else limit, 1 / limit), limit)
        for count in images_per_class
    ]


def _pos_weight(given: float | Sequence[float] | dict[str, Any] | None) -> Tensor | None:
    if given is None:
        return None
    if isinstance(given, dict):
        try:
            given = balanced_pos_weight(**given)
        except TypeError as error:
            raise UserError(
                f'got pos_weight={given}, expected dict(images_per_class=[...], num_images=...); '
                'correct its keys.'
            ) from error
    values = list(given) if isinstance(given, Sequence) else [given]
    # In Python, because tensors have no values while a model is built on the meta device.
    if not values or not all(
        isinstance(value, Real) and math.isfinite(value) and value > 0 for value in values
    ):
        raise UserError(
            f'got pos_weight={given}, expected a positive number, or one for each class; 1 leaves '
            'the loss unchanged.'
        )
    return torch.tensor(given, dtype=torch.float32)
