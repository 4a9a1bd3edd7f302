"""The residual blocks of a ResNet (He et al., CVPR 2016), with fewer activations kept.

Parameters and results are those of the toolbox's blocks.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from mmseg.models.backbones.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from mmseg_encnet.nn.recomputation import Recomputation

# Convolutions that are recomputed, by their products per output value: in a ResNet-50 the first one
# and the 1x1 convolutions with up to 128 input channels, or all of them.
RECOMPUTE = {'none': None, 'cheap': 128, 'most': 9 * 512}


def recomputes(recompute: int | None) -> TypeGuard[int]:
    """Return whether the forward pass leaves anything to be recomputed."""
    return recompute is not None and torch.is_grad_enabled()


class LeanBasicBlock(BasicBlock):
    """Two 3x3 convolutions with norms."""

    # A value of RECOMPUTE, set by the backbone.
    recompute: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.with_cp or not recomputes(self.recompute):
            return super().forward(x)
        with Recomputation(self.recompute) as lean:
            out = lean.activate(lean.convolve(x, self.conv1), self.norm1, self.relu)
            out = self.norm2(lean.convolve(out, self.conv2))
            out += _shortcut(x, self.downsample, lean)
        return self.relu(out)


class LeanBottleneck(Bottleneck):
    """A 3x3 convolution between two 1x1 convolutions, with norms."""

    recompute: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.with_cp or self.with_plugins or not recomputes(self.recompute):
            return super().forward(x)
        with Recomputation(self.recompute) as lean:
            out = lean.activate(lean.convolve(x, self.conv1), self.norm1, self.relu)
            out = lean.activate(lean.convolve(out, self.conv2), self.norm2, self.relu)
            out = self.norm3(lean.convolve(out, self.conv3))
            out += _shortcut(x, self.downsample, lean)
        return self.relu(out)


def _shortcut(x: Tensor, downsample: nn.Module | None, lean: Recomputation) -> Tensor:
    if downsample is None:
        return x
    if type(downsample) is not nn.Sequential:
        return downsample(x)
    for layer in downsample:
        x = lean.convolve(x, layer)
    return x


LEAN_BLOCKS = {BasicBlock: LeanBasicBlock, Bottleneck: LeanBottleneck}
