"""Soft counts of visual words.

Csurka et al., "Visual Categorization with Bags of Keypoints", ECCV workshop 2004, with the soft
assignment of van Gemert et al., "Visual Word Ambiguity", TPAMI 2010.
"""

from __future__ import annotations

from torch import Tensor, nn

from mmseg_encnet.nn.base import SoftAssignmentEncoder


class BagOfWords(SoftAssignmentEncoder):
    """The frequency of each codeword, without residuals.

    ``h_k = 1/N sum_i a_ik`` with the soft assignment of :class:`Encoding`. A learned linear map
    projects the histogram to the channels of the gate: ``v = sum_k h_k w_k``.

    Args:
        channels: Channels C of the features.
        num_codes: Codewords K in the dictionary.
        **kwargs: Other arguments of :class:`SoftAssignmentEncoder`.

    Example:
        >>> import torch
        >>> from mmseg_encnet.nn import BagOfWords
        >>> BagOfWords(channels=64, num_codes=8)(torch.rand(2, 64, 30, 30)).shape
        torch.Size([2, 64])
    """

    def __init__(self, channels: int, num_codes: int, **kwargs) -> None:
        super().__init__(channels, num_codes, **kwargs)
        self.num_descriptors = 1
        self.embedding = nn.Linear(num_codes, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return statistics ``(B, C)`` of features ``(B, C, H, W)`` or ``(B, C, N)``."""
        return self.embedding(self._assign(x).mean(dim=2))
