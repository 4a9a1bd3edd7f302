"""The mean of the features: what remains of a context encoding without a dictionary.

Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, section 3.1, equation 2.
"""

from __future__ import annotations

from mmseg.registry import MODELS
from torch import Tensor

from .base import BaseEncoder


@MODELS.register_module()
class GlobalAverage(BaseEncoder):
    """``v = 1/N sum_i x_i``.

    Args:
        channels: Channels C of the features.
        num_codes: Given to every encoder; there is no dictionary here that it could size.
    """

    @property
    def num_descriptors(self) -> int:
        return 1

    def forward(self, x: Tensor) -> Tensor:
        """Statistics ``(B, C)`` of features ``(B, C, H, W)`` or ``(B, C, N)``."""
        return x.flatten(2).mean(dim=2)

    def extra_repr(self) -> str:
        return f'channels={self.channels}'
