"""ResNet-S, the backbone of the published EncNet.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 4.1: a ResNet whose
last two stages are dilated instead of strided, with an output stride of 8. The released networks
replace the 7x7 convolution of the stem with three 3x3 convolutions (64, 64, 128 channels). The
stem of MMSegmentation's ``ResNetV1c`` has half as many channels, so the ImageNet weights of the
two are not interchangeable, and neither are those of EncNet.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmseg.models.backbones import ResNet
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.backbones.lean_blocks import (
    LEAN_BLOCKS,
    RECOMPUTE,
    LeanBasicBlock,
    LeanBottleneck,
    recomputes,
)
from mmseg_encnet.models.convolution import default_convolution
from mmseg_encnet.nn.recomputation import Recomputation


@MODELS.register_module()
class ResNetV1s(ResNet):
    """Dilated ResNet with the 64-64-128 deep stem of PyTorch-Encoding.

    Args:
        depth: 18, 34, 50, 101 or 152. ImageNet weights are published for the last three.
        stem_channels: Channels of the stem's last convolution; the first two have half as many.
        strides: Stride of each stage; ``(1, 2, 2, 2)`` and ``dilations=(1, 1, 1, 1)`` for the
            undilated backbone of a JPU neck.
        dilations: Dilation of each stage.
        contract_dilation: Whether the first block of a dilated stage has the dilation of the
            previous stage, as in the original (no multi-grid).
        zero_init_residual: Whether to initialise the last norm of a residual block with zero. The
            original uses one.
        recompute: What the backward pass computes again instead of keeping it: ``'cheap'``, batch
            norms with ReLU and the convolutions with the fewest products per value; ``'most'``,
            everything between the outputs of residual blocks, which needs less memory and more
            time; or ``'none'``. The gradients are the same.
        conv_cfg: Config of the convolutions; by default
            :class:`mmseg_encnet.nn.WinogradConv2d`, which is faster on CPUs.
        **kwargs: Other arguments of :class:`mmseg.models.ResNet`.

    Raises:
        UserError: The depth or ``recompute`` is unknown.

    The output is a tuple of feature maps ``(B, C_i, H_i, W_i)``, one for each of ``out_indices``.
    """

    def __init__(
        self,
        depth: int,
        stem_channels: int = 128,
        strides: Sequence[int] = (1, 2, 1, 1),
        dilations: Sequence[int] = (1, 1, 2, 4),
        contract_dilation: bool = True,
        zero_init_residual: bool = False,
        recompute: str = 'cheap',
        conv_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        if depth not in self.arch_settings:
            raise UserError(
                f'depth of ResNetV1s must be one of {", ".join(map(str, self.arch_settings))}, '
                f'got {depth}.'
            )
        if recompute not in RECOMPUTE:
            raise UserError(
                f'unknown recompute {recompute!r}; choose one of {", ".join(RECOMPUTE)}.'
            )
        super().__init__(
            depth,
            stem_channels=stem_channels,
            strides=strides,
            dilations=dilations,
            deep_stem=True,
            avg_down=False,
            contract_dilation=contract_dilation,
            zero_init_residual=zero_init_residual,
            conv_cfg=default_convolution(conv_cfg),
            **kwargs,
        )
        self.recompute = RECOMPUTE[recompute]
        for block in self.modules():
            if isinstance(block, (LeanBasicBlock, LeanBottleneck)):
                block.recompute = self.recompute

    def make_res_layer(self, **kwargs) -> nn.Module:
        """Build a stage."""
        return super().make_res_layer(**dict(kwargs, block=LEAN_BLOCKS[kwargs['block']]))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps of the stages ``out_indices``."""
        if not recomputes(self.recompute):
            return super().forward(x)
        with Recomputation(self.recompute) as lean:
            layers = list(self.stem)
            while layers:
                if len(layers) > 1 and isinstance(layers[1], nn.ReLU):
                    x = lean.activate(x, layers[0], layers[1])
                    del layers[:2]
                else:
                    x = lean.convolve(x, layers.pop(0))
            x = self.maxpool(x)
        outs = []
        for index, name in enumerate(self.res_layers):
            x = getattr(self, name)(x)
            if index in self.out_indices:
                outs.append(x)
        return tuple(outs)
