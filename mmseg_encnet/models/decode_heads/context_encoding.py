"""The Context Encoding Module: from a feature map to a description of the scene and back.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 3.1 and figure 2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_norm_layer
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_encnet.errors import UserError


class EncodedContext(NamedTuple):
    """What the module found in a batch of images.

    Attributes:
        features: The input features ``(B, C, H, W)`` with every channel scaled by the gate.
        vector: The encoded semantics ``(B, C)``, the mean over codewords.
        gate: The scaling factors gamma ``(B, C)`` in (0, 1).
        projection: The projected features ``(B, C, H, W)`` that were encoded, from which the
            soft assignment of pixels to codewords can be computed.
    """

    features: Tensor
    vector: Tensor
    gate: Tensor
    projection: Tensor


class ContextEncodingModule(nn.Module):
    """Encode the features of an image, derive a gate, scale the features with it.

    Args:
        channels: Channels C of the features.
        encoder: Config of the encoder, a :class:`BaseEncoder`, with its ``num_codes`` K.
        conv_cfg, norm_cfg, act_cfg: Layer configs of the toolbox. The same ``norm_cfg`` builds
            the norm over the codes: one scale and shift for every row of the statistics.

    Raises:
        UserError: If the groups of a group norm do not divide the rows of the statistics.
    """

    def __init__(self, channels: int, encoder: dict, conv_cfg: dict | None,
                 norm_cfg: dict | None, act_cfg: dict | None) -> None:
        super().__init__()
        # Attribute names and positions are those of mmseg's EncModule: checkpoints depend on it.
        self.encoding_project = ConvModule(
            channels, channels, 1, conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg)
        encoder = MODELS.build(dict(encoder, channels=channels))
        num_groups = (norm_cfg or {}).get('num_groups', 1)
        if encoder.num_descriptors % num_groups:
            raise UserError(f'num_groups={num_groups} came, the head normalises over the '
                            f'{encoder.num_descriptors} rows of statistics of {encoder}; choose '
                            'num_groups so that it divides them.')
        self.encoding = nn.Sequential(
            encoder,
            build_norm_layer(norm_cfg or dict(type='BN'), encoder.num_descriptors)[1],
            nn.ReLU(inplace=True))
        self.fc = nn.Sequential(nn.Linear(channels, channels), nn.Sigmoid())

    def describe(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode features ``(B, C, H, W)``: their vector and gate ``(B, C)`` and projection."""
        encode, norm, activate = self.encoding
        projection = self.encoding_project(x)
        statistics = encode(projection)
        if statistics.dim() == 2:
            statistics = statistics.unsqueeze(1)
        # A trailing axis makes the statistics an image of one column, (B, K, C, 1), which every
        # 2d norm accepts under its own registered name.
        statistics = activate(norm(statistics.unsqueeze(-1))).squeeze(-1)
        vector = statistics.mean(dim=1)
        return vector, self.fc(vector), projection

    def assign(self, projection: Tensor) -> Tensor | None:
        """Soft assignments ``(B, K, H, W)`` of projected features; None if the encoder has none."""
        encoder = self.encoding[0]
        return encoder.assign(projection) if hasattr(encoder, 'assign') else None

    def forward(self, x: Tensor) -> EncodedContext:
        """Apply the module to features ``(B, C, H, W)``."""
        vector, gate, projection = self.describe(x)
        features = F.relu(x + x * gate[:, :, None, None])
        return EncodedContext(features, vector, gate, projection)
