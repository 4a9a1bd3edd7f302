"""Vectors of locally aggregated descriptors, with a learned assignment.

Jégou et al., "Aggregating Local Descriptors into a Compact Image Representation", CVPR 2010, in the
form of Arandjelović et al., "NetVLAD", CVPR 2016, section 3.1, equation 4.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmseg_encnet.nn.base import Clusters, DictionaryEncoder
from mmseg_encnet.ops import aggregate, soft_assignment
from mmseg_encnet.ops.numerics import without_autocast


class VLAD(DictionaryEncoder):
    """Residuals under an assignment that is independent of the codewords.

    ``a_ik = softmax_k(w_k.x_i + b_k)``, ``e_k = sum_i a_ik (x_i - d_k)``; every ``e_k`` is scaled
    to unit length (intra-normalisation), then the whole vector. Assignment and codewords are
    initially coupled, ``w_k = 2 t d_k`` and ``b_k = -t |d_k|^2``, which equals the assignment of
    :class:`Encoding` with all smoothing factors ``-t``.

    Args:
        channels: Channels C of the features.
        num_codes: Codewords K in the dictionary.
        sharpness: The factor t of the initial assignment.

    Example:
        >>> import torch
        >>> from mmseg_encnet.nn import VLAD
        >>> VLAD(channels=64, num_codes=8)(torch.rand(2, 64, 30, 30)).shape
        torch.Size([2, 8, 64])
    """

    def __init__(self, channels: int, num_codes: int, sharpness: float = 1.0) -> None:
        super().__init__(channels, num_codes)
        self.assignment = nn.Linear(channels, num_codes)
        self._couple(torch.full((num_codes,), sharpness))

    def forward(self, x: Tensor) -> Tensor:
        """Return statistics ``(B, K, C)`` of features ``(B, C, H, W)`` or ``(B, C, N)``."""
        statistics = aggregate(x, self._assign(x), self.codewords)
        statistics = F.normalize(statistics, dim=2)
        # Every row is a unit vector, or zero if no feature was assigned to it.
        return F.normalize(statistics.flatten(1), dim=1).view_as(statistics)

    def _assign(self, x: Tensor) -> Tensor:
        x = x.flatten(2)
        # In single precision at least: logits of a saturated assignment overflow half precision.
        dtype = torch.promote_types(x.dtype, torch.float32)
        with without_autocast(x.device):
            weight, bias = (t.to(dtype) for t in (self.assignment.weight, self.assignment.bias))
            weight = weight.expand(len(x), *weight.shape)
            return soft_assignment(torch.baddbmm(bias[:, None], weight, x.to(dtype)))

    @torch.no_grad()
    def set_clusters(self, clusters: Clusters) -> None:
        """Use the centres as codewords, with the inverse mean squared distance as sharpness."""
        self.codewords.copy_(clusters.centres)
        squared_distance = (clusters.shares * clusters.variances.sum(dim=1)).sum()
        self._couple((1 / squared_distance).expand(self.num_codes))

    @torch.no_grad()
    def _couple(self, sharpness: Tensor) -> None:
        self.assignment.weight.copy_(2 * sharpness[:, None] * self.codewords)
        self.assignment.bias.copy_(-sharpness * self.codewords.square().sum(dim=1))
