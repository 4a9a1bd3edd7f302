"""The blocks of the Centralized Feature Pyramid, which detectors use in their necks.

Quan, Zhang, Zhang and Tang, "Centralized Feature Pyramid for Object Detection", IEEE Transactions
on Image Processing 2023 (arXiv 2210.02093), as in the released code (CFPNet).
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.nn.context_encoding import ContextEncoding


class _PublishedNames(nn.Module):
    """A module that also loads weights with the names of the released code."""

    # Prefixes of the released code and ours; None for weights that it does not use.
    _published: ClassVar[dict[str, str | None]]

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for key in list(state_dict):
            for theirs, ours in self._published.items():
                if key.startswith(prefix + theirs):
                    value = state_dict.pop(key)
                    if ours is not None:
                        state_dict[prefix + ours + key[len(prefix + theirs) :]] = value
                    break
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class LearnableVisualCentre(_PublishedNames):
    """Scales features by a gate that a dictionary of the whole image predicts.

    A residual bottleneck (1x1, 3x3 and 1x1 convolutions, a 1x1 convolution beside them) followed by
    :class:`ContextEncoding`: ``y = relu(b + b * gamma)`` with ``b = bottleneck(x)``. The released
    block encodes with the arithmetic of EncNet, written out over images x positions x codewords x
    channels; here :func:`mmseg_encnet.ops.encode` computes it.

    Weights saved with the released ``LVCBlock`` load.

    Args:
        channels: Channels C of the features, at least 4.
        num_codes: Codewords K in the dictionary; 64 in the released code.

    Raises:
        UserError: ``channels`` is less than 4 or ``num_codes`` is not positive.

    Example:
        >>> import torch
        >>> from mmseg_encnet.nn import LearnableVisualCentre
        >>> LearnableVisualCentre(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    _published: ClassVar[dict[str, str | None]] = {
        'conv_1.conv1.': 'bottleneck.branch.0.',
        'conv_1.bn1.': 'bottleneck.branch.1.',
        'conv_1.conv2.': 'bottleneck.branch.3.',
        'conv_1.bn2.': 'bottleneck.branch.4.',
        'conv_1.conv3.': 'bottleneck.branch.6.',
        'conv_1.bn3.': 'bottleneck.branch.7.',
        'conv_1.residual_conv.': 'bottleneck.shortcut.0.',
        'conv_1.residual_bn.': 'bottleneck.shortcut.1.',
        'LVC.0.': 'context.encoding_project.conv.',
        'LVC.1.': 'context.encoding_project.bn.',
        'LVC.3.': 'context.encoding.0.',
        'LVC.4.': 'context.encoding.1.',
        'fc.': 'context.fc.',
    }

    def __init__(self, channels: int, num_codes: int = 64) -> None:
        super().__init__()
        self.bottleneck = _Bottleneck(channels)
        self.context = ContextEncoding(channels, num_codes)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape ``(B, C, H, W)``."""
        return self.context(self.bottleneck(x)).features


class ExplicitVisualCentre(_PublishedNames):
    """The explicit visual centre (EVC): a lightweight MLP beside a learnable visual centre.

    ``conv1x1(concat(LVC(s), MLP(s)))`` with the stem ``s = maxpool3(relu(norm(conv7(x))))``, for
    the top level of a pyramid. The MLP is ::

        z = s + a * conv(GN(s))
        MLP(s) = z + b * fc2(gelu(fc1(GN(z))))

    where ``conv`` is a depthwise and a pointwise convolution with batch norm and SiLU, GN a group
    norm of one group, fc1 widens the channels fourfold, and a and b are learnt scales of every
    channel that start at 1e-5. As in the released code, the depthwise kernel is 1x1 and no path is
    dropped.

    Weights saved with the released ``EVCBlock`` load, except for its layer ``l_MLP.linear``, which
    it never uses.

    Args:
        channels: Channels of the features, at least 4.
        out_channels: Channels of the result; by default ``channels``.
        num_codes: Codewords K of the visual centre; 64 in the released code.

    Raises:
        UserError: ``channels`` is less than 4 or ``num_codes`` is not positive.

    Example:
        >>> import torch
        >>> from mmseg_encnet.nn import ExplicitVisualCentre
        >>> ExplicitVisualCentre(64)(torch.rand(2, 64, 20, 20)).shape
        torch.Size([2, 64, 20, 20])
    """

    _published: ClassVar[dict[str, str | None]] = {
        'conv1.': 'stem.0.',
        'bn1.': 'stem.1.',
        'l_MLP.linear.': None,
        'l_MLP.norm1.': 'mlp.spatial.0.',
        'l_MLP.dw.dconv.conv.': 'mlp.spatial.1.',
        'l_MLP.dw.dconv.bn.': 'mlp.spatial.2.',
        'l_MLP.dw.pconv.conv.': 'mlp.spatial.4.',
        'l_MLP.dw.pconv.bn.': 'mlp.spatial.5.',
        'l_MLP.norm2.': 'mlp.channels.0.',
        'l_MLP.mlp.fc1.': 'mlp.channels.1.',
        'l_MLP.mlp.fc2.': 'mlp.channels.3.',
        'l_MLP.layer_scale_1': 'mlp.spatial_scale',
        'l_MLP.layer_scale_2': 'mlp.channel_scale',
        'cnv1.': 'fuse.',
    }

    def __init__(self, channels: int, out_channels: int | None = None, num_codes: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=1, padding=1),
        )
        self.lvc = LearnableVisualCentre(channels, num_codes)
        self.mlp = _LightweightMLP(channels)
        self.fuse = nn.Conv2d(2 * channels, channels if out_channels is None else out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features ``(B, out_channels, H, W)`` of features ``(B, channels, H, W)``."""
        x = self.stem(x)
        return self.fuse(torch.cat([self.lvc(x), self.mlp(x)], dim=1))


class _Bottleneck(nn.Module):
    """A residual block with a quarter of the channels inside and a 1x1 convolution beside it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 4
        if inner < 1:
            raise UserError(f'channels must be at least 4, got {channels}.')
        conv, norm = partial(nn.Conv2d, bias=False), partial(nn.BatchNorm2d, eps=1e-6)
        self.branch = nn.Sequential(
            conv(channels, inner, 1),
            norm(inner),
            nn.ReLU(inplace=True),
            conv(inner, inner, 3, padding=1),
            norm(inner),
            nn.ReLU(inplace=True),
            conv(inner, channels, 1),
            norm(channels),
        )
        self.shortcut = nn.Sequential(conv(channels, channels, 1), norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch(x) + self.shortcut(x))


class _LightweightMLP(nn.Module):
    """Two residual branches, over positions and over channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            nn.GroupNorm(1, channels),
            nn.Conv2d(channels, channels, 1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.SiLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.SiLU(inplace=True),
        )
        self.channels = nn.Sequential(
            nn.GroupNorm(1, channels),
            nn.Conv2d(channels, 4 * channels, 1),
            nn.GELU(),
            nn.Conv2d(4 * channels, channels, 1),
        )
        for layer in self.channels:
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.spatial_scale = nn.Parameter(torch.full((channels,), 1e-5))
        self.channel_scale = nn.Parameter(torch.full((channels,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.spatial_scale[:, None, None] * self.spatial(x)
        return x + self.channel_scale[:, None, None] * self.channels(x)
