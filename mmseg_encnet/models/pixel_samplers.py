"""Weights of pixels in the segmentation loss."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from mmseg.structures.sampler import BasePixelSampler
from mmseg.structures.sampler.builder import PIXEL_SAMPLERS
from torch import Tensor

from mmseg_encnet.errors import UserError


@PIXEL_SAMPLERS.register_module()
class BoundaryPixelSampler(BasePixelSampler):
    """Weights the loss of pixels near the boundary of two classes.

    A pixel is near a boundary if labelled pixels of two classes lie within ``width`` rows and
    columns of it: the trimap of Kohli et al., "Robust Higher Order Potentials for Enforcing Label
    Consistency", IJCV 2009, in which boundaries are usually evaluated. Unlabelled pixels have no
    boundary. For ``sampler`` of a decode head, as ``OHEMPixelSampler``, with which it cannot be
    combined; heads of this package still compute the loss without resized logits.

    Args:
        context: The head.
        width: Width of the band on either side of a boundary, in pixels of the labels.
        weight: Weight of its pixels; all others have weight 1. As for every pixel weight, the sum
            is divided by the number of labelled pixels.

    Raises:
        UserError: ``width`` is not positive or ``weight`` is negative.
    """

    def __init__(self, context: Any, width: int = 3, weight: float = 2.0) -> None:
        super().__init__()
        if width < 1:
            raise UserError(f'width of BoundaryPixelSampler must be positive, got {width}; use 3.')
        if weight < 0:
            raise UserError(
                f'weight of BoundaryPixelSampler must not be negative, got {weight}; use 2.'
            )
        self.ignore_index = context.ignore_index
        self.width = width
        self.weight = weight

    def sample(self, seg_logit: Tensor, seg_label: Tensor) -> Tensor:
        """Return the weights ``(B, H, W)`` for logits ``(B, C, H, W)`` and labels ``(B, 1, H, W)``.

        The logits are not used except for their dtype.
        """
        return self.weights(seg_label).to(seg_logit.dtype)

    def weights(self, label: Tensor) -> Tensor:
        """Return the weights ``(B, H, W)``, float32, for labels ``(B, 1, H, W)``."""
        unlabelled = label == self.ignore_index
        # Exact in single precision for any number of classes that fits into memory.
        classes = label.float()
        largest = self._maximum(classes.masked_fill(unlabelled, float('-inf')))
        smallest = -self._maximum((-classes).masked_fill(unlabelled, float('-inf')))
        near = (largest != smallest).masked_fill_(unlabelled, False)
        return near.float().mul_(self.weight - 1).add_(1)[:, 0]

    def _maximum(self, values: Tensor) -> Tensor:
        """Return the maximum over the square around each pixel."""
        size = 2 * self.width + 1
        values = F.max_pool2d(values, (size, 1), 1, (self.width, 0))
        return F.max_pool2d(values, (1, size), 1, (0, self.width))
