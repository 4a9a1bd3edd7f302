"""Soft counts of visual words.

Csurka et al., "Visual Categorization with Bags of Keypoints", ECCV workshop 2004, with the soft
assignment of van Gemert et al., "Visual Word Ambiguity", TPAMI 2010.
"""

from __future__ import annotations

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_encnet.ops import assign

from .base import Clusters, DictionaryEncoder


@MODELS.register_module()
class BagOfWords(DictionaryEncoder):
    """How often each codeword occurs, whatever the residuals are.

    ``h_k = 1/N sum_i a_ik`` with the assignment of :class:`Encoding`,
    ``a_ik = softmax_k(s_k |x_i - d_k|^2)``. A learned linear map takes the histogram to the
    channels of the gate: ``v = sum_k h_k w_k``.

    Args:
        channels: Channels C of the features.
        num_codes: Codewords K in the dictionary.
    """

    def __init__(self, channels: int, num_codes: int) -> None:
        super().__init__(channels, num_codes)
        self.scale = nn.Parameter(torch.empty(num_codes).uniform_(-1, 0))
        self.embedding = nn.Linear(num_codes, channels, bias=False)

    @property
    def num_descriptors(self) -> int:
        return 1

    def forward(self, x: Tensor) -> Tensor:
        """Statistics ``(B, C)`` of features ``(B, C, H, W)`` or ``(B, C, N)``."""
        return self.embedding(self._assign(x).mean(dim=2))

    def _assign(self, x: Tensor) -> Tensor:
        return assign(x, self.codewords, self.scale)

    @torch.no_grad()
    def set_clusters(self, clusters: Clusters) -> None:
        """As in :class:`Encoding`."""
        self.codewords.copy_(clusters.centres)
        self.scale.copy_(-1 / clusters.variances.sum(dim=1))
