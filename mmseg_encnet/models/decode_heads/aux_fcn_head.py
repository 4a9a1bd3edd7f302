"""The auxiliary head on the third stage of EncNet's backbone, used in training only.

It is the FCN head of the released code (PyTorch-Encoding), with which the published weights were
trained. The paper (Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018) instead
has a second Context Encoding Module with SE loss on stage 3, :class:`AuxEncodingHead`, which no
released version has.
"""

from __future__ import annotations

from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS
from torch import nn

from mmseg_encnet.models.convolution import default_convolution
from mmseg_encnet.models.decode_heads.upsampled_loss import UpsampledLossDecodeHead


@MODELS.register_module()
class AuxFCNHead(FCNHead, UpsampledLossDecodeHead):
    """3x3 convolution to a quarter of the channels, norm, ReLU, dropout, 1x1 convolution.

    The state-dict keys are those of :class:`mmseg.models.FCNHead`.

    Args:
        in_channels: Channels of the input feature map.
        channels: Channels after the 3x3 convolution; by default a quarter of ``in_channels``.
        num_convs, concat_input, dropout_ratio, loss_decode: As in :class:`mmseg.models.FCNHead`,
            with the values of the released code as defaults.
        conv_cfg: As in :class:`EncodingHead`.
        channel_dropout: Whether dropout zeroes whole channels (``nn.Dropout2d``), as in the
            releases of PyTorch-Encoding before 1.2 and in FastFCN, instead of single values.
        **kwargs: Other arguments of :class:`mmseg.models.FCNHead`.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int | None = None,
        num_convs: int = 1,
        concat_input: bool = False,
        dropout_ratio: float = 0.1,
        loss_decode: dict | list[dict] | None = None,
        conv_cfg: dict | None = None,
        channel_dropout: bool = True,
        **kwargs,
    ) -> None:
        if loss_decode is None:
            loss_decode = dict(type='SyncCrossEntropyLoss', loss_weight=0.2)
        super().__init__(
            in_channels=in_channels,
            channels=in_channels // 4 if channels is None else channels,
            num_convs=num_convs,
            concat_input=concat_input,
            dropout_ratio=dropout_ratio,
            loss_decode=loss_decode,
            conv_cfg=default_convolution(conv_cfg),
            **kwargs,
        )
        if not channel_dropout and self.dropout_ratio > 0:
            self.dropout = nn.Dropout(self.dropout_ratio)
