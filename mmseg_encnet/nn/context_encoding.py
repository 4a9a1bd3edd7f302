"""The Context Encoding Module: from a feature map to a description of the scene and back.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 3.1 and figure 2. The
defaults are those of the released code (PyTorch-Encoding, since version 0.4.3). The paper sums over
the codewords, ``reduction='sum'``, and multiplies the features by the gate, ``gate='scale'``.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.nn.base import BaseEncoder, DictionaryEncoder
from mmseg_encnet.nn.encoding import Encoding

Reduction = Literal['mean', 'sum']
Gate = Literal['residual', 'scale']


class EncodedContext(NamedTuple):
    """What the module computed for a batch of images.

    Attributes:
        features: The features after the gate, ``relu(x + x * gamma)`` by default, ``(B, C, H, W)``.
        vector: The encoded semantics ``(B, C)``, the mean (or sum) over the codewords.
        gate: The scaling factors gamma ``(B, C)`` in (0, 1).
        projection: The projected features ``(B, C, H, W)`` that were encoded, from which the
            soft assignment of pixels to codewords can be computed.
    """

    features: Tensor
    vector: Tensor
    gate: Tensor
    projection: Tensor


class SemanticsEncoding(nn.Module):
    """Encodes the features of an image as one vector, the encoded semantics.

    ``v = mean_k relu(norm(encode(project(x))))``.

    Args:
        channels: Channels C of the features.
        num_codes: Codewords K of the default encoder; 32 in the paper.
        encoder: Encoder of C channels; :class:`Encoding` if not given.
        projection: Module that maps ``(B, C, H, W)`` to features of the same shape, which are
            encoded; 1x1 convolution, batch norm and ReLU if not given.
        norm: Norm over the rows of the statistics, applied to ``(B, rows, C, 1)``; a batch norm if
            not given.
        reduction: How to aggregate the codewords, ``'mean'`` as in the released code or ``'sum'``
            as in the paper.

    Raises:
        UserError: ``reduction`` is unknown.
    """

    def __init__(
        self,
        channels: int,
        num_codes: int = 32,
        *,
        encoder: BaseEncoder | None = None,
        projection: nn.Module | None = None,
        norm: nn.Module | None = None,
        reduction: Reduction = 'mean',
    ) -> None:
        super().__init__()
        if reduction not in ('mean', 'sum'):
            raise UserError(f'unknown reduction {reduction!r}; choose one of mean, sum.')
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
        self.reduction = reduction
        # Checkpoints depend on these attribute names and positions.
        self.encoding_project = projection
        self.encoding = nn.Sequential(encoder, norm, nn.ReLU(inplace=True))

    @property
    def encoder(self) -> BaseEncoder:
        """The encoder of the module."""
        encoder = self.encoding[0]
        assert isinstance(encoder, BaseEncoder)
        return encoder

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector ``(B, C)`` and the projection of features ``(B, C, H, W)``."""
        encode, norm, activate = self.encoding
        projection = self.encoding_project(x)
        statistics = encode(projection)
        if statistics.dim() == 2:
            statistics = statistics.unsqueeze(1)
        # A trailing axis makes the statistics an image of one column, (B, K, C, 1), which every
        # 2d norm accepts.
        statistics = activate(norm(statistics.unsqueeze(-1))).squeeze(-1)
        vector = statistics.mean(dim=1) if self.reduction == 'mean' else statistics.sum(dim=1)
        return vector, projection

    def assign(self, projection: Tensor) -> Tensor | None:
        """Return the soft assignments ``(B, K, H, W)`` of projected features.

        None if the encoder has no dictionary.
        """
        encoder = self.encoder
        return encoder.assign(projection) if isinstance(encoder, DictionaryEncoder) else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the encoded semantics ``(B, C)`` of features ``(B, C, H, W)``."""
        return self.encode(x)[0]


class ContextEncoding(SemanticsEncoding):
    """Encodes the features of an image, derives a gate and scales the features with it.

    ``v = mean_k relu(norm(encode(project(x))))``, ``gamma = sigmoid(W v)`` and
    ``y = relu(x + x * gamma)``. State-dict keys are those of MMSegmentation's ``EncModule``.

    Args:
        channels: Channels C of the features.
        num_codes: Codewords K of the default encoder; 32 in the paper.
        gate: How the gate acts on the features, ``'residual'`` for ``relu(x + x * gamma)`` as in
            the released code or ``'scale'`` for ``x * gamma`` as in the paper.
        **options: ``encoder``, ``projection``, ``norm`` and ``reduction`` of
            :class:`SemanticsEncoding`.

    Raises:
        UserError: ``reduction`` or ``gate`` is unknown.

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
        gate: Gate = 'residual',
        **options: Any,
    ) -> None:
        super().__init__(channels, num_codes, **options)
        if gate not in ('residual', 'scale'):
            raise UserError(f'unknown gate {gate!r}; choose one of residual, scale.')
        self.gate = gate
        self.fc = nn.Sequential(nn.Linear(channels, channels), nn.Sigmoid())

    def describe(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return vector and gate ``(B, C)`` and projection of features ``(B, C, H, W)``."""
        vector, projection = self.encode(x)
        return vector, self.fc(vector), projection

    def channel_factors(self, gate: Tensor) -> Tensor:
        """Return the factors ``(B, C)`` by which the gate multiplies features that are >= 0."""
        return 1 + gate if self.gate == 'residual' else gate

    def forward(self, x: Tensor) -> EncodedContext:  # type: ignore[override]
        """Apply the module to features ``(B, C, H, W)``."""
        vector, gate, projection = self.describe(x)
        scaled = x * gate[:, :, None, None]
        features = F.relu(x + scaled) if self.gate == 'residual' else scaled
        return EncodedContext(features, vector, gate, projection)
