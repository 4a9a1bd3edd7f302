"""Base classes: the interface of an encoder, and the dictionaries that encoders share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.ops import assign


class Clusters(NamedTuple):
    """A clustering of features: K clusters of C channels.

    Attributes:
        centres: ``(K, C)``.
        variances: Variance of every channel within each cluster, ``(K, C)``, positive.
        shares: Fraction of the features in each cluster, ``(K,)``, positive; sums to one.
    """

    centres: Tensor
    variances: Tensor
    shares: Tensor

    def smoothing_factors(self) -> Tensor:
        """Return factors ``(K,)`` that give logit -1 at a cluster's root mean square distance."""
        return -1 / self.variances.sum(dim=1)


class BaseEncoder(nn.Module, ABC):
    """Base class of the encoders, which map the features of an image to statistics.

    Args:
        channels: Channels C of the features.

    Raises:
        UserError: ``channels`` is not positive.

    Attributes:
        num_descriptors: Rows of the statistics: the norm that follows has one scale and shift for
            each. Statistics ``(B, C)`` count as one row.
    """

    num_descriptors: int

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 1:
            raise UserError(f'channels must be positive, got {channels}.')
        self.channels = channels
        self.num_descriptors = 1

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return statistics ``(B, num_descriptors, C)`` or ``(B, C)`` of ``(B, C, H, W)``."""

    def extra_repr(self) -> str:
        return f'channels={self.channels}'


class DictionaryEncoder(BaseEncoder):
    """An encoder that assigns every position to the codewords of a dictionary.

    The codewords start as in the published code of EncNet, uniform within ``1 / sqrt(K C)``.

    Args:
        channels: Channels C of the features.
        num_codes: Codewords K in the dictionary.

    Raises:
        UserError: ``channels`` or ``num_codes`` is not positive.
    """

    def __init__(self, channels: int, num_codes: int) -> None:
        super().__init__(channels)
        if num_codes < 1:
            raise UserError(f'num_codes must be positive, got {num_codes}; the paper uses 32.')
        self.num_codes = num_codes
        self.num_descriptors = num_codes
        bound = 1 / math.sqrt(num_codes * channels)
        self.codewords = nn.Parameter(torch.empty(num_codes, channels).uniform_(-bound, bound))

    def assign(self, x: Tensor) -> Tensor:
        """Return weights ``(B, K, H, W)`` of features ``(B, C, H, W)``, which sum to 1 over K.

        Features ``(B, C, N)`` give ``(B, K, N)``.
        """
        return self._assign(x).unflatten(2, x.shape[2:])

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, num_codes={self.num_codes}'

    @abstractmethod
    def _assign(self, x: Tensor) -> Tensor:
        """Return the weights as ``(B, K, N)`` for features of either shape."""

    @abstractmethod
    def set_clusters(self, clusters: Clusters) -> None:
        """Replace the random initialisation by a dictionary found in data."""


class SoftAssignmentEncoder(DictionaryEncoder):
    """A dictionary encoder with EncNet's soft assignment: learned smoothing factors.

    ``a_ik = softmax_k(s_k |x_i - d_k|^2)`` with codewords d and smoothing factors s (equation 2).

    Args:
        channels: Channels C of the features.
        num_codes: Codewords K in the dictionary.
        scaled_smoothing: Whether to initialise the smoothing factors uniformly in
            ``(-1 / channels, 0)`` instead of ``(-1, 0)``, as published. Squared distances grow with
            the number of channels: with the published initialisation nearly all positions are
            assigned to the codeword whose factor is nearest 0.
    """

    def __init__(self, channels: int, num_codes: int, scaled_smoothing: bool = False) -> None:
        super().__init__(channels, num_codes)
        # Negative: the minus sign of equation 2 is inside the factor.
        scale = torch.empty(num_codes).uniform_(-1, 0)
        self.scale = nn.Parameter(scale / channels if scaled_smoothing else scale)

    def _assign(self, x: Tensor) -> Tensor:
        return assign(x, self.codewords, self.scale)

    @torch.no_grad()
    def set_clusters(self, clusters: Clusters) -> None:
        """Use the centres as codewords, with the smoothing factors of the clusters."""
        self.codewords.copy_(clusters.centres)
        self.scale.copy_(clusters.smoothing_factors())
