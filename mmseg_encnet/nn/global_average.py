"""The mean of the features: a context encoding without a dictionary.

Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, section 3.1, equation 2.
"""

from __future__ import annotations

from torch import Tensor

from mmseg_encnet.nn.base import BaseEncoder


class GlobalAverage(BaseEncoder):
    """The mean over the positions, ``v = 1/N sum_i x_i``, without a dictionary.

    Args:
        channels: Channels C of the features.

    Example:
        >>> import torch
        >>> from mmseg_encnet.nn import GlobalAverage
        >>> GlobalAverage(channels=64)(torch.rand(2, 64, 30, 30)).shape
        torch.Size([2, 64])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return statistics ``(B, C)`` of features ``(B, C, H, W)`` or ``(B, C, N)``."""
        return x.flatten(2).mean(dim=2)
