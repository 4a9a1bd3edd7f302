"""ResNet-S, the backbone of the published EncNet.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 4.1: a ResNet whose
last two stages are dilated instead of strided, so features come out at an eighth of the image.
The released networks use three 3x3 convolutions (64, 64, 128 channels) in place of the 7x7 stem;
MMSegmentation's ``ResNetV1c`` has the same shape of stem with half the width, so its ImageNet
weights do not fit here, and the published EncNet weights do not fit there.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmseg.models.backbones import ResNet
from mmseg.registry import MODELS

from mmseg_encnet.errors import UserError


@MODELS.register_module()
class ResNetV1s(ResNet):
    """Dilated ResNet with the 64-64-128 deep stem of PyTorch-Encoding.

    Args:
        depth: 18, 34, 50, 101 or 152. ImageNet weights are published for the last three.
        stem_channels: Channels of the stem's last convolution; the two before have half.
        strides: Stride of each stage. ``(1, 2, 2, 2)`` with ``dilations=(1, 1, 1, 1)`` gives the
            undilated backbone that a JPU neck expects.
        dilations: Dilation of each stage.
        contract_dilation: Whether the first block of a dilated stage keeps the dilation of the
            stage before it, as the original does (no multi-grid).
        zero_init_residual: Whether the last norm of a residual block starts at zero. The original
            starts it at one.
        **kwargs: Any other argument of :class:`mmseg.models.ResNet`.

    Raises:
        UserError: If there is no such depth.

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
        **kwargs,
    ) -> None:
        if depth not in self.arch_settings:
            raise UserError(
                f'depth={depth} came, ResNetV1s has '
                f'{", ".join(map(str, self.arch_settings))}; choose one of these.'
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
            **kwargs,
        )
