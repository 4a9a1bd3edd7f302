"""The encoding layer: a learned dictionary and residual statistics over it.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 3.1, after
"Deep TEN: Texture Encoding Network", CVPR 2017.
"""

from __future__ import annotations

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_encnet.ops import assign, encode

from .base import Clusters, DictionaryEncoder


@MODELS.register_module()
class Encoding(DictionaryEncoder):
    """Residual encoding of a feature map against learned codewords.

    ``a_ik = softmax_k(s_k |x_i - d_k|^2)``, ``e_k = sum_i a_ik (x_i - d_k)``, with codewords d and
    smoothing factors s.

    Parameters, their initialisation and the state-dict keys equal those of
    :class:`mmseg.models.utils.Encoding`, so either loads the other's weights.

    Args:
        channels: Channels C of the features.
        num_codes: Codewords K in the dictionary.
        backend: How :func:`mmseg_encnet.ops.encode` computes it.
        scaled_smoothing: Whether the smoothing factors start uniform in ``(-1 / channels, 0)``
            instead of ``(-1, 0)``, as published. Squared distances grow with the channels: at the
            published start nearly all positions go to the codeword whose factor is nearest 0.
    """

    def __init__(self, channels: int, num_codes: int, backend: str = 'auto',
                 scaled_smoothing: bool = False) -> None:
        super().__init__(channels, num_codes)
        self.backend = backend
        # Negative, so a larger distance means a smaller assignment: the sign lives in the factor.
        scale = torch.empty(num_codes).uniform_(-1, 0)
        self.scale = nn.Parameter(scale / channels if scaled_smoothing else scale)

    def forward(self, x: Tensor) -> Tensor:
        """Encode features ``(B, C, H, W)`` or ``(B, C, N)`` into statistics ``(B, K, C)``."""
        return encode(x, self.codewords, self.scale, backend=self.backend)

    def _assign(self, x: Tensor) -> Tensor:
        return assign(x, self.codewords, self.scale)

    @torch.no_grad()
    def set_clusters(self, clusters: Clusters) -> None:
        """Codewords are the centres; features at a cluster's root mean square distance score -1."""
        self.codewords.copy_(clusters.centres)
        self.scale.copy_(-1 / clusters.variances.sum(dim=1))

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, backend={self.backend!r}'
