"""The decode head of EncNet.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, figure 2. Differences from
MMSegmentation's ``EncHead``: the encoding does not expand to (B, N, K, C), the norm over the codes
can be any registered norm, ``use_se_loss=False`` trains, the SE targets of a batch are computed in
one vectorised call, and the cross-entropy does not resize the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.convolution import default_convolution
from mmseg_encnet.models.decode_heads.targets import build_se_loss, stacked_presence
from mmseg_encnet.models.decode_heads.upsampled_loss import UpsampledLossDecodeHead
from mmseg_encnet.models.encoders import build_encoding
from mmseg_encnet.nn.context_encoding import ContextEncoding, Gate, Reduction


class HeadOutput(NamedTuple):
    """Everything that one forward pass of the head computes.

    Attributes:
        seg_logits: Class scores ``(B, num_classes, H, W)`` at the resolution of the features.
        se_logits: Presence logits ``(B, num_classes)``, or None without SE branch.
        gate: The gate gamma ``(B, channels)``.
        projection: The projected features ``(B, channels, H, W)`` that were encoded.
        features: The features ``(B, channels, H, W)`` before the gate.
    """

    seg_logits: Tensor
    se_logits: Tensor | None
    gate: Tensor
    projection: Tensor
    features: Tensor


@MODELS.register_module()
class EncodingHead(UpsampledLossDecodeHead):
    """EncNet's head: bottleneck, Context Encoding Module, classifier, SE branch.

    Arguments and state-dict keys are those of mmseg's ``EncHead``: replace ``type='EncHead'`` in a
    config, and existing checkpoints still load.

    Args:
        num_codes: Codewords K of the dictionary. If None, 32 as in the paper for encoders with a
            dictionary.
        encoder: Config of the encoder where it differs from ``dict(type='Encoding')``, e.g.
            ``dict(backend='mmcv')`` or ``dict(type='VLAD')``; :mod:`mmseg_encnet.nn` has the
            others.
        use_se_loss: Whether to build and train the SE branch.
        add_lateral: Whether to fuse 1x1-projected features of all ``in_index`` stages into the
            bottleneck's output before encoding.
        reduction: ``'mean'`` over the codewords as in the released code, or ``'sum'`` as in the
            paper (section 3.1).
        gate: ``'residual'`` for ``relu(x + x * gamma)`` as in the released code, or ``'scale'`` for
            ``x * gamma`` as in the paper (section 3.1).
        bottleneck_kernel_size: Kernel size of the first convolution: 3 in the paper, 1 in FastFCN
            (arXiv 1903.11816).
        loss_se_decode: Loss of the SE branch, called with logits and 0/1 presence targets
            ``(B, num_classes)``: ``SemanticEncodingLoss`` by default, mmseg's
            ``CrossEntropyLoss(use_sigmoid=True)`` works too.
        channel_dropout: Whether the dropout before the classifier zeroes whole channels
            (``nn.Dropout2d``), as in the releases of PyTorch-Encoding before 1.2 and in FastFCN,
            instead of single values.
        conv_cfg: Config of the convolutions; by default
            :class:`mmseg_encnet.nn.WinogradConv2d`, which is faster on CPUs.
        **kwargs: Other arguments of :class:`mmseg.models.BaseDecodeHead`; ``in_channels`` and
            ``in_index`` are lists; the last entry is the stage that is encoded.

    Raises:
        UserError: ``in_channels`` or ``in_index`` is not a list, ``num_codes`` is not positive or
            is given for an encoder without a dictionary, ``reduction`` or ``gate`` is unknown,
            ``bottleneck_kernel_size`` is not odd, the groups of a group norm do not divide
            ``channels`` and the rows of the statistics, or ``pos_weight`` of ``loss_se_decode`` is
            for another number of classes.

    Example:
        >>> import torch
        >>> from mmseg_encnet.models import EncodingHead
        >>> head = EncodingHead(in_channels=[64], in_index=[0], channels=32, num_classes=5)
        >>> scores, presence = head.eval()([torch.rand(1, 64, 15, 15)])
        >>> scores.shape, presence.shape
        (torch.Size([1, 5, 15, 15]), torch.Size([1, 5]))
    """

    def __init__(
        self,
        num_codes: int | None = None,
        encoder: dict | None = None,
        use_se_loss: bool = True,
        add_lateral: bool = False,
        reduction: Reduction = 'mean',
        gate: Gate = 'residual',
        bottleneck_kernel_size: int = 3,
        loss_se_decode: dict | None = None,
        channel_dropout: bool = True,
        conv_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        for key in ('in_channels', 'in_index'):
            if not isinstance(kwargs.get(key), (list, tuple)):
                raise UserError(
                    f'got {key}={kwargs.get(key)}, expected a list with one entry per backbone '
                    f'stage; write {key}=[...].'
                )
        sizes = len(kwargs['in_channels']), len(kwargs['in_index'])
        if sizes[0] != sizes[1] or not sizes[0]:
            raise UserError(
                f'got {sizes[0]} in_channels and {sizes[1]} in_index, expected as many of both and '
                'at least one; correct the head in the config.'
            )
        conv_cfg = default_convolution(conv_cfg)
        super().__init__(input_transform='multiple_select', conv_cfg=conv_cfg, **kwargs)
        if bottleneck_kernel_size % 2 != 1:
            raise UserError(
                f'got bottleneck_kernel_size={bottleneck_kernel_size}, expected an odd size, which '
                'keeps the resolution; the paper uses 3, FastFCN 1.'
            )
        num_groups = (self.norm_cfg or {}).get('num_groups', 1)
        if self.channels % num_groups:
            raise UserError(
                f'got num_groups={num_groups}, expected a divisor of channels={self.channels}; '
                'choose another num_groups.'
            )
        if not channel_dropout and self.dropout_ratio > 0:
            self.dropout = nn.Dropout(self.dropout_ratio)
        self.use_se_loss = use_se_loss
        self.add_lateral = add_lateral
        layer_cfg = dict(conv_cfg=conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        self.bottleneck = ConvModule(
            self.in_channels[-1],
            self.channels,
            bottleneck_kernel_size,
            padding=bottleneck_kernel_size // 2,
            **layer_cfg,
        )
        if add_lateral:
            self.lateral_convs = nn.ModuleList(
                ConvModule(in_channels, self.channels, 1, **layer_cfg)
                for in_channels in self.in_channels[:-1]
            )
            self.fusion = ConvModule(
                len(self.in_channels) * self.channels, self.channels, 3, padding=1, **layer_cfg
            )
        self.enc_module = build_encoding(
            ContextEncoding,
            self.channels,
            num_codes,
            encoder,
            reduction=reduction,
            gate=gate,
            **layer_cfg,
        )
        self.num_codes = getattr(self.enc_module.encoder, 'num_codes', None)
        if use_se_loss:
            self.loss_se_decode = build_se_loss(loss_se_decode, self.num_classes)
            self.se_layer = nn.Linear(self.channels, self.num_classes)

    def fuse(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the features ``(B, channels, H, W)`` to encode, from the backbone's outputs."""
        inputs = self._transform_inputs(inputs)
        feat = self.bottleneck(inputs[-1])
        if not self.add_lateral:
            return feat
        laterals = [
            F.interpolate(
                lateral_conv(x),
                size=feat.shape[2:],
                mode='bilinear',
                align_corners=self.align_corners,
            )
            for lateral_conv, x in zip(self.lateral_convs, inputs)
        ]
        return self.fusion(torch.cat([feat, *laterals], dim=1))

    def forward_context(self, inputs: Sequence[Tensor]) -> HeadOutput:
        """Run the head on the backbone's feature maps and return everything it computes."""
        features = self.fuse(inputs)
        context = self.enc_module(features)
        se_logits = self.se_layer(context.vector) if self.use_se_loss else None
        return HeadOutput(
            self.cls_seg(context.features), se_logits, context.gate, context.projection, features
        )

    def assign(self, projection: Tensor) -> Tensor | None:
        """Return the soft assignments ``(B, num_codes, H, W)`` of an encoded projection.

        None if the encoder has no dictionary.
        """
        return self.enc_module.assign(projection)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        """Return class scores and, with SE branch, presence logits, as ``EncHead`` does.

        Args:
            inputs: Feature maps of all backbone (or neck) outputs.
        """
        output = self.forward_context(inputs)
        if output.se_logits is None:
            return output.seg_logits
        return output.seg_logits, output.se_logits

    def predict(
        self, inputs: Sequence[Tensor], batch_img_metas: list[dict], test_cfg: dict | None
    ) -> Tensor:
        """Return class scores ``(B, num_classes, H, W)`` at the size of the network's input."""
        return self.predict_by_feat(self.forward_context(inputs).seg_logits, batch_img_metas)

    def loss_by_feat(  # type: ignore[override]
        self, seg_logits: Tensor | tuple[Tensor, Tensor], batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Return the segmentation loss and, with SE branch, the SE loss."""
        if isinstance(seg_logits, Tensor):
            return super().loss_by_feat(seg_logits, batch_data_samples)
        seg_logits, se_logits = seg_logits
        losses = super().loss_by_feat(seg_logits, batch_data_samples)
        losses['loss_se'] = self.loss_se_decode(
            se_logits, stacked_presence(batch_data_samples, self.num_classes, self.ignore_index)
        )
        return losses
