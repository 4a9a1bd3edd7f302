"""The Context Encoding Module: from a feature map to a description of the scene and back.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 3.1 and figure 2.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from mmseg_encnet.nn.base import BaseEncoder, DictionaryEncoder
from mmseg_encnet.nn.encoding import Encoding


class EncodedContext(NamedTuple):
    """What the module computed for a batch of images.

    Attributes:
        features: The input features scaled by the gate, ``relu(x + x * gamma)``, ``(B, C, H, W)``.
        vector: The encoded semantics ``(B, C)``, the mean over the codewords.
        gate: The scaling factors gamma ``(B, C)`` in (0, 1).
        projection: The projected features ``(B, C, H, W)`` that were encoded, from which the
            soft assignment of pixels to codewords can be computed.
    """

    features: Tensor
    vector: Tensor
    gate: Tensor
    projection: Tensor


class ContextEncoding(nn.Module):
    """Encode the features of an image, derive a gate, scale the features with it.

    ``v = mean_k relu(norm(encode(project(x))))``, ``gamma = sigmoid(W v)`` and
    ``y = relu(x + x * gamma)``. State-dict keys are those of MMSegmentation's ``EncModule``.

    Args:
        channels: Channels C of the features.
        num_codes: Codewords K of the default encoder; 32 in the paper.
        encoder: Encoder of C channels; :class:`Encoding` if not given.
        projection: Module that maps ``(B, C, H, W)`` to features of the same shape, which are
            encoded; 1x1 convolution, batch norm and ReLU if not given.
        norm: Norm over the rows of the statistics, applied to ``(B, rows, C, 1)``; a batch norm if
            not given.

    Example:
        >>> import torch
        >>> from mmseg_encnet.nn import ContextEncoding
        >>> context = ContextEncoding(64, num_codes=16)
        >>> encoded = context(torch.rand(2, 64, 30, 30))
        >>> encoded.features.shape, encoded.vector.shape
        (torch.Size([2, 64, 30, 30]), torch.Size([2, 64]))
    """

    def __init__(
        self,
        channels: int,
        num_codes: int = 32,
        *,
        encoder: BaseEncoder | None = None,
        projection: nn.Module | None = None,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if projection is None:
            layers = OrderedDict(
                conv=nn.Conv2d(channels, channels, 1, bias=False),
                bn=nn.BatchNorm2d(channels),
                activate=nn.ReLU(inplace=True),
            )
            projection = nn.Sequential(layers)
        if encoder is None:
            encoder = Encoding(channels, num_codes)
        if norm is None:
            norm = nn.BatchNorm2d(encoder.num_descriptors)
        # Checkpoints depend on these attribute names and positions.
        self.encoding_project = projection
        self.encoding = nn.Sequential(encoder, norm, nn.ReLU(inplace=True))
        self.fc = nn.Sequential(nn.Linear(channels, channels), nn.Sigmoid())

    @property
    def encoder(self) -> BaseEncoder:
        """The encoder of the module."""
        encoder = self.encoding[0]
        assert isinstance(encoder, BaseEncoder)
        return encoder

    def describe(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return vector and gate ``(B, C)`` and projection of features ``(B, C, H, W)``."""
        encode, norm, activate = self.encoding
        projection = self.encoding_project(x)
        statistics = encode(projection)
        if statistics.dim() == 2:
            statistics = statistics.unsqueeze(1)
        # A trailing axis makes the statistics an image of one column, (B, K, C, 1), which every
        # 2d norm accepts.
        statistics = activate(norm(statistics.unsqueeze(-1))).squeeze(-1)
        vector = statistics.mean(dim=1)
        return vector, self.fc(vector), projection

    def assign(self, projection: Tensor) -> Tensor | None:
        """Return the soft assignments ``(B, K, H, W)`` of projected features.

        None if the encoder has no dictionary.
        """
        encoder = self.encoder
        return encoder.assign(projection) if isinstance(encoder, DictionaryEncoder) else None

    def forward(self, x: Tensor) -> EncodedContext:
        """Apply the module to features ``(B, C, H, W)``."""
        vector, gate, projection = self.describe(x)
        features = F.relu(x + x * gate[:, :, None, None])
        return EncodedContext(features, vector, gate, projection)
