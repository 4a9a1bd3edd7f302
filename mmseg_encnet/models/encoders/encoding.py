"""The encoding layer: a learned dictionary and residual statistics over it.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 3.1, after
"Deep TEN: Texture Encoding Network", CVPR 2017.
"""

from __future__ import annotations

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_encnet.ops import encode


@MODELS.register_module()
class Encoding(nn.Module):
    """Residual encoding of a feature map against learned codewords.

    Parameters, their initialisation and the state-dict keys equal those of
    :class:`mmseg.models.utils.Encoding`, so either loads the other's weights.

    Args:
        channels: Channels C of the features.
        num_codes: Codewords K in the dictionary.
        backend: How :func:`mmseg_encnet.ops.encode` computes it.
    """

    def __init__(self, channels: int, num_codes: int, backend: str = 'auto') -> None:
        super().__init__()
        self.channels = channels
        self.num_codes = num_codes
        self.backend = backend
        bound = (num_codes * channels)**-0.5
        self.codewords = nn.Parameter(torch.empty(num_codes, channels).uniform_(-bound, bound))
        # Negative, so a larger distance means a smaller assignment: the sign lives in the factor.
        self.scale = nn.Parameter(torch.empty(num_codes).uniform_(-1, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Encode features ``(B, C, H, W)`` or ``(B, C, N)`` into statistics ``(B, K, C)``."""
        return encode(x, self.codewords, self.scale, backend=self.backend)

    def extra_repr(self) -> str:
        return f'channels={self.channels}, num_codes={self.num_codes}, backend={self.backend!r}'
