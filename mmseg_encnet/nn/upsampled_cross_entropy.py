"""The cross-entropy at the size of the labels as a module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmseg_encnet.ops import upsampled_cross_entropy


class UpsampledCrossEntropy(nn.Module):
    """Mean cross-entropy of logits resized to the labels, without the resized logits.

    A drop-in replacement for ``F.interpolate`` and ``nn.CrossEntropyLoss`` in any segmentation
    network; see :func:`mmseg_encnet.ops.upsampled_cross_entropy`.

    Args:
        align_corners: As in ``F.interpolate``.
        ignore_index: Label of unlabelled pixels.
        class_weight: Weight of each class.
        label_smoothing: Share of the label that is spread over all classes, in [0, 1].
        use_sigmoid: Whether to use the binary cross-entropy, of one score for class 1 against class
            0 or of one score for each class.
        backend: How to compute it.

    Example:
        >>> import torch
        >>> from mmseg_encnet.nn import UpsampledCrossEntropy
        >>> criterion = UpsampledCrossEntropy(ignore_index=255)
        >>> criterion(torch.zeros(2, 4, 8, 8), torch.randint(4, (2, 64, 64))).item()  # log(4)
        1.386294...
    """

    class_weight: Tensor | None

    def __init__(
        self,
        *,
        align_corners: bool = False,
        ignore_index: int = 255,
        class_weight: Sequence[float] | Tensor | None = None,
        label_smoothing: float = 0.0,
        use_sigmoid: bool = False,
        backend: str = 'auto',
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.use_sigmoid = use_sigmoid
        self.backend = backend
        if class_weight is not None:
            class_weight = torch.as_tensor(class_weight, dtype=torch.float32)
        self.register_buffer('class_weight', class_weight, persistent=False)

    def extra_repr(self) -> str:
        """Return the options."""
        names = ('align_corners', 'ignore_index', 'label_smoothing', 'use_sigmoid', 'backend')
        return ', '.join(f'{name}={getattr(self, name)!r}' for name in names)

    def forward(self, logits: Tensor, label: Tensor, pixel_weight: Tensor | None = None) -> Tensor:
        """Return the loss, a scalar.

        Args:
            logits: Scores ``(B, C, h, w)``.
            label: Class indices ``(B, H, W)``.
            pixel_weight: Weight of each pixel ``(B, H, W)``.
        """
        return upsampled_cross_entropy(
            logits,
            label,
            align_corners=self.align_corners,
            ignore_index=self.ignore_index,
            class_weight=self.class_weight,
            pixel_weight=pixel_weight,
            label_smoothing=self.label_smoothing,
            use_sigmoid=self.use_sigmoid,
            backend=self.backend,
        )
