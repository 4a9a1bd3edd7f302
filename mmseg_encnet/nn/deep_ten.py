"""Texture and material recognition with an encoding instead of average pooling.

Zhang, Xue and Dana, "Deep TEN: Texture Encoding Network", CVPR 2017.
"""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from mmseg_encnet.nn.encoding import Encoding


class DeepTENPool(Encoding):
    """Pools the features of an image to one vector of unit length, without their order.

    ``v = e / |e|`` with all residual encodings ``e = (e_1, ..., e_K)`` of :class:`Encoding` in one
    vector. It replaces the global average pooling before a linear classifier, and accepts images
    of any size.

    Args:
        channels: Channels C of the features; 128 in the paper.
        num_codes: Codewords K in the dictionary; 32 in the paper.
        **kwargs: Other arguments of :class:`Encoding`.

    Example:
        >>> import torch
        >>> from mmseg_encnet.nn import DeepTENPool
        >>> pool = DeepTENPool(channels=16, num_codes=4)
        >>> pool(torch.rand(2, 16, 30, 20)).shape
        torch.Size([2, 64])
    """

    def __init__(self, channels: int, num_codes: int = 32, **kwargs) -> None:
        super().__init__(channels, num_codes, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, K * C)`` of features ``(B, C, H, W)`` or ``(B, C, N)``."""
        return F.normalize(super().forward(x).flatten(1), dim=1, eps=1e-8)


class DeepTENHead(nn.Sequential):
    """The head of Deep TEN for a ResNet: from its last feature map to class scores.

    1x1 convolution, batch norm, ReLU, :class:`DeepTENPool`, linear classifier. Architecture and
    state-dict keys are those of ``head`` of ``DeepTen`` in PyTorch-Encoding (commit ac74841).

    Args:
        in_channels: Channels of the feature map; 2048 for ResNet-50.
        num_classes: Number of classes.
        channels: Channels C after the convolution.
        num_codes: Codewords K in the dictionary.

    Example:
        >>> import torch
        >>> from mmseg_encnet.nn import DeepTENHead
        >>> head = DeepTENHead(in_channels=64, num_classes=23)
        >>> head(torch.rand(2, 64, 11, 11)).shape
        torch.Size([2, 23])
    """

    def __init__(
        self, in_channels: int, num_classes: int, channels: int = 128, num_codes: int = 32
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            [
                ('0', nn.Conv2d(in_channels, channels, 1)),
                ('1', nn.BatchNorm2d(channels)),
                ('2', nn.ReLU(inplace=True)),
                ('3', DeepTENPool(channels, num_codes)),
                # The original flattens and normalises in layers 4 and 5.
                ('6', nn.Linear(channels * num_codes, num_classes)),
            ]
        )
        super().__init__(layers)
