"""EfficientNet-Lite, a backbone for machines without a GPU.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
in the Lite variants of Google's TPU models: no squeeze-and-excitation, ReLU6 instead of swish, and
a stem that is not scaled. Strided convolutions pad as TensorFlow does with ``SAME``, because the
ImageNet weights were trained that way. The classifier and the 1280-channel convolution in front of
it are left out. Unlike the original, the last stages can be dilated instead of strided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.registry import MODELS as ROOT_MODELS
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmseg_encnet.errors import UserError

SCHEME = 'package://efficientnet-lite'
OUTPUT_STRIDES = (8, 16, 32)


class _Blocks(NamedTuple):
    """Blocks of one kind, before scaling."""

    repeats: int
    kernel_size: int
    stride: int
    expand_ratio: int
    channels: int


# The stages reduce the image by 2, 4, 8, 16 and 32; the stem is part of the first.
_STAGES = (
    (_Blocks(1, 3, 1, 1, 16),),
    (_Blocks(2, 3, 2, 6, 24),),
    (_Blocks(2, 5, 2, 6, 40),),
    (_Blocks(3, 3, 2, 6, 80), _Blocks(3, 5, 1, 6, 112)),
    (_Blocks(4, 5, 2, 6, 192), _Blocks(1, 3, 1, 6, 320)),
)
_STEM_CHANNELS = 32
# Factors of width and depth of the variants 0 to 4.
_SCALING = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8))
_NORM_DEFAULTS = dict(eps=1e-3, momentum=0.01)


@MODELS.register_module()
class EfficientNetLite(BaseModule):
    """EfficientNet-Lite 0 to 4.

    Args:
        arch: Variant. Packages with ImageNet weights exist for 0, 1 and 2.
        output_stride: Factor by which the last stage reduces the image: 8, 16 or 32. Stages that
            would reduce it further are dilated instead. As in :class:`ResNetV1s`, the first block
            of such a stage has the dilation of the previous stage.
        out_indices: Stages to return, from 0 to 4; without dilation they reduce the image by 2, 4,
            8, 16 and 32. :attr:`stage_channels` has their channels.
        frozen_stages: Last stage that is not trained, with everything before it; -1 trains all.
        norm_cfg: Config of the norms. Batch norms have the original's ``eps=1e-3`` and
            ``momentum=0.01`` unless it contains others.
        norm_eval: Whether batch norms keep their running statistics during training.
        with_cp: Whether to recompute activations in the backward pass, which needs less memory and
            more time.
        init_cfg: ``dict(type='Pretrained', checkpoint='package://efficientnet-lite0')`` loads the
            ImageNet weights of an installed package. They expect RGB images normalised with mean
            127 and standard deviation 128.
        in_channels: Channels of the images.
        conv_cfg: Config of the depthwise convolutions at stride 1. Default:
            :class:`mmseg_encnet.nn.DepthwiseConv2d`, whose gradients are faster on CPUs.

    Attributes:
        stage_channels: Channels of the five stages.

    Raises:
        UserError: An argument is out of range, or ``init_cfg`` names the weights of another
            variant.

    The output is a tuple of feature maps ``(B, C_i, H_i, W_i)``, one for each of ``out_indices``,
    where ``H_i`` is the height divided by the stride of the stage, rounded up.

    Example:
        >>> import torch
        >>> from mmseg_encnet.models import EfficientNetLite
        >>> backbone = EfficientNetLite(0, output_stride=16).eval()
        >>> [tuple(x.shape) for x in backbone(torch.rand(1, 3, 64, 96))]
        [(1, 24, 16, 24), (1, 40, 8, 12), (1, 112, 4, 6), (1, 320, 4, 6)]
    """

    def __init__(
        self,
        arch: int = 0,
        output_stride: int = 32,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
        in_channels: int = 3,
        conv_cfg: dict | None = None,
    ) -> None:
        _check_choice('arch', arch, range(len(_SCALING)))
        _check_choice('output_stride', output_stride, OUTPUT_STRIDES)
        _check_choice('frozen_stages', frozen_stages, range(-1, len(_STAGES)))
        for index in out_indices:
            _check_choice('out_indices', index, range(len(_STAGES)))
        _check_weights(arch, init_cfg)
        super().__init__(
            init_cfg
            or [
                dict(type='Kaiming', layer='Conv2d'),
                dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
            ]
        )
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        norm_cfg = _with_original_defaults(norm_cfg or dict(type='BN'))
        width, depth = _SCALING[arch]

        self.stem = _conv(in_channels, _STEM_CHANNELS, 3, stride=2, norm_cfg=norm_cfg)
        self.stages = nn.ModuleList()
        channels, reduction, dilation = _STEM_CHANNELS, 2, 1
        for kinds in _STAGES:
            blocks: list[nn.Module] = []
            for kind in kinds:
                for index in range(_repeats(kind, depth)):
                    stride = kind.stride if index == 0 else 1
                    next_dilation = dilation
                    if stride > 1 and reduction * stride > output_stride:
                        stride, next_dilation = 1, dilation * stride
                    reduction *= stride
                    out_channels = _scaled(kind.channels, width)
                    blocks.append(
                        InvertedBottleneck(
                            channels,
                            out_channels,
                            kind.kernel_size,
                            stride,
                            dilation,
                            kind.expand_ratio,
                            # Dilation instead of a stride does not add a shortcut.
                            shortcut=(index > 0 or kind.stride == 1) and channels == out_channels,
                            norm_cfg=norm_cfg,
                            with_cp=with_cp,
                            conv_cfg=conv_cfg or dict(type='DepthwiseConv2d'),
                        )
                    )
                    channels, dilation = out_channels, next_dilation
            self.stages.append(nn.Sequential(*blocks))
        self.stage_channels = tuple(_scaled(kinds[-1].channels, width) for kinds in _STAGES)
        self._freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x)
        outputs = {}
        for index, stage in enumerate(self.stages[: max(self.out_indices, default=-1) + 1]):
            x = stage(x)
            outputs[index] = x
        return tuple(outputs[index] for index in self.out_indices)

    def train(self, mode: bool = True) -> EfficientNetLite:
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        for part in (self.stem, *self.stages[: self.frozen_stages + 1]):
            part.eval().requires_grad_(False)


class InvertedBottleneck(BaseModule):
    """Expansion, depthwise convolution and projection, with a shortcut around them.

    Args:
        in_channels, out_channels: Channels of input and output.
        kernel_size: Size of the depthwise convolution.
        stride, dilation: Of the depthwise convolution; one of them is 1.
        expand_ratio: Channels of the depthwise convolution per channel of the input.
        shortcut: Whether to add the input to the output.
        norm_cfg: Config of the norms.
        with_cp: Whether to recompute activations in the backward pass.
        conv_cfg: Config of the depthwise convolution, unless it has a stride.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        dilation: int,
        expand_ratio: int,
        shortcut: bool,
        norm_cfg: dict,
        with_cp: bool,
        conv_cfg: dict,
    ) -> None:
        super().__init__()
        self.shortcut, self.with_cp = shortcut, with_cp
        channels = in_channels * expand_ratio
        if expand_ratio > 1:
            self.expand = _conv(in_channels, channels, 1, norm_cfg=norm_cfg)
        self.depthwise = _conv(
            channels,
            channels,
            kernel_size,
            stride,
            dilation,
            groups=channels,
            norm_cfg=norm_cfg,
            conv_cfg=conv_cfg,
        )
        self.project = _conv(channels, out_channels, 1, norm_cfg=norm_cfg, act_cfg=None)

    def forward(self, x: Tensor) -> Tensor:
        if self.with_cp and x.requires_grad:
            return checkpoint(self._forward, x, use_reentrant=False)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        out = self.expand(x) if hasattr(self, 'expand') else x
        out = self.project(self.depthwise(out))
        return x + out if self.shortcut else out


# The toolbox looks for convolutions from the root, whatever the default scope is.
@ROOT_MODELS.register_module()
class SameConv2d(nn.Conv2d):
    """Convolution with stride 2 that pads like TensorFlow's ``SAME``.

    The output has half the input's size, rounded up. With an even size, the padding before the
    image is one pixel narrower than the padding after it. The toolbox's ``Conv2dAdaptivePadding``
    computes the same, but a graph exported with it accepts only images of one size.
    """

    def forward(self, x: Tensor) -> Tensor:
        after = [size // 2 for size in self.kernel_size]
        height, width = x.shape[-2:]
        x = F.pad(
            x,
            (after[1] - 1 + width % 2, after[1], after[0] - 1 + height % 2, after[0]),
        )
        return self._conv_forward(x, self.weight, self.bias)


def _conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    *,
    norm_cfg: dict,
    conv_cfg: dict | None = None,
    act_cfg: dict | None = dict(type='ReLU6'),  # noqa: B006 (ConvModule copies it)
) -> ConvModule:
    strided = stride > 1
    return ConvModule(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=0 if strided else kernel_size // 2 * dilation,
        dilation=dilation,
        groups=groups,
        conv_cfg=dict(type='SameConv2d') if strided else conv_cfg,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
    )


def blocks_per_stage(arch: int) -> list[int]:
    """Return the number of blocks in each of the five stages of a variant."""
    _, depth = _SCALING[arch]
    return [sum(_repeats(kind, depth) for kind in kinds) for kinds in _STAGES]


def _repeats(kind: _Blocks, depth: float) -> int:
    # The first and the last kind have one block in every variant.
    return math.ceil(depth * kind.repeats) if kind.repeats > 1 else 1


def _scaled(channels: int, width: float, divisor: int = 8) -> int:
    """Return a number of channels times ``width``, as a multiple of 8."""
    scaled = channels * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    # At most 10 % narrower.
    return rounded if rounded >= 0.9 * scaled else rounded + divisor


def _with_original_defaults(norm_cfg: dict) -> dict:
    norm = MODELS.get(norm_cfg['type']) if isinstance(norm_cfg['type'], str) else norm_cfg['type']
    if isinstance(norm, type) and issubclass(norm, _BatchNorm):
        return {**_NORM_DEFAULTS, **norm_cfg}
    return norm_cfg


def _check_choice(name: str, value: int, choices: Sequence[int]) -> None:
    if isinstance(value, bool) or value not in choices:
        raise UserError(
            f'{name} of EfficientNetLite must be one of {", ".join(map(str, choices))}, got '
            f'{value!r}.'
        )


def _check_weights(arch: int, init_cfg: dict | list[dict] | None) -> None:
    # The toolbox only warns about weights of other shapes and keeps the random ones.
    for entry in init_cfg if isinstance(init_cfg, list) else [init_cfg or {}]:
        name = str(entry.get('checkpoint', ''))
        if name.startswith(SCHEME) and name != f'{SCHEME}{arch}':
            raise UserError(
                f'got weights {name} for EfficientNetLite with arch={arch}; use {SCHEME}{arch}.'
            )
