"""Gradients of a Gaussian mixture's log likelihood.

Perronnin and Dance, "Fisher Kernels on Visual Vocabularies for Image Categorization", CVPR 2007;
formulas as in Sanchez et al., "Image Classification with the Fisher Vector", IJCV 2013. Learned end
to end with the network, as in Tang et al., "Deep FisherNet", 2016.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmseg_encnet.nn.base import Clusters, DictionaryEncoder
from mmseg_encnet.ops import aggregate, mixture_assign


class FisherVector(DictionaryEncoder):
    """First and second order statistics under a mixture of Gaussians with diagonal covariances.

    With posteriors ``g_ik`` of component k (mean ``d_k``, deviation ``s_k``, prior ``p_k``)::

        u_k = 1 / (N sqrt(p_k))   sum_i g_ik (x_i - d_k) / s_k
        v_k = 1 / (N sqrt(2 p_k)) sum_i g_ik ((x_i - d_k)^2 / s_k^2 - 1)

    The K rows u come first, then the K rows v. The codewords are the means; deviations are learned
    as logarithms, priors as logits. Initially deviations are 1 and priors uniform. The square root
    and L2 normalisation of the "improved" Fisher vector are left to the norm that follows.

    Args:
        channels: Channels C of the features.
        num_codes: Components K of the mixture.

    Example:
        >>> import torch
        >>> from mmseg_encnet.nn import FisherVector
        >>> FisherVector(channels=64, num_codes=8)(torch.rand(2, 64, 30, 30)).shape
        torch.Size([2, 16, 64])
    """

    def __init__(self, channels: int, num_codes: int) -> None:
        super().__init__(channels, num_codes)
        self.num_descriptors = 2 * num_codes
        self.log_deviations = nn.Parameter(torch.zeros(num_codes, channels))
        self.prior_logits = nn.Parameter(torch.zeros(num_codes))

    def forward(self, x: Tensor) -> Tensor:
        """Return statistics ``(B, 2 K, C)`` of features ``(B, C, H, W)`` or ``(B, C, N)``."""
        x = x.flatten(2)
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        posteriors = self._assign(x)
        means, deviations = self.codewords, self.log_deviations.exp()
        first = aggregate(x, posteriors, means)
        # sum g (x - d)^2 = sum g (x^2 - d^2) - 2 d sum g (x - d)
        second = aggregate(x.square(), posteriors, means.square()) - 2 * means * first
        mass = posteriors.sum(dim=2)[:, :, None]
        weight = (-0.5 * self.prior_logits.log_softmax(dim=0)).exp()[:, None] / max(x.shape[2], 1)
        return torch.cat(
            [
                weight * first / deviations,
                weight / math.sqrt(2) * (second / deviations.square() - mass),
            ],
            dim=1,
        )

    def _assign(self, x: Tensor) -> Tensor:
        return mixture_assign(
            x, self.codewords, self.log_deviations.exp(), self.prior_logits.log_softmax(dim=0)
        )

    @torch.no_grad()
    def set_clusters(self, clusters: Clusters) -> None:
        """Use one component per cluster, with its centre, variances and share."""
        self.codewords.copy_(clusters.centres)
        self.log_deviations.copy_(clusters.variances.log() / 2)
        self.prior_logits.copy_(clusters.shares.log())
