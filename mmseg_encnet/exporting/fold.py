"""Fold batch norms and the gate of EncNet for inference.

Batch norm folds into the preceding convolution. The gate folds into the classifier: its input x is
not negative, so ``relu(x + x * gamma) = x * (1 + gamma)``, and scaling the channels of x equals
scaling the columns of the classifier's weight, a ``(num_classes, channels)`` matrix per image
instead of a feature map. With ``gate='scale'`` the factors are gamma.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from mmcv.cnn.utils import fuse_conv_bn
from mmengine.model import revert_sync_batchnorm
from mmseg.models import BaseSegmentor
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.decode_heads import EncodingHead
from mmseg_encnet.models.input_channels import input_channels
from mmseg_encnet.models.labels import label_pixels


class FoldedEncNet(nn.Module):
    """A folded segmentor that includes normalisation of the image and upsampling of the scores.

    Args:
        segmentor: Trained segmentor with an :class:`EncodingHead`; it is not modified.
        gate: Whether the gate is an output, too.

    Attributes:
        output_names: Names of the outputs: ``scores``, ``presence`` with an SE branch, ``gate``.

    Raises:
        UserError: The head is not an :class:`EncodingHead`, or its features can be negative.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, segmentor: BaseSegmentor, gate: bool = False) -> None:
        super().__init__()
        head = segmentor.decode_head
        if not isinstance(head, EncodingHead):
            raise UserError(
                f'decode_head must be an EncodingHead, got {type(head).__name__}; only EncNet can '
                'be folded.'
            )
        encoded = head.fusion if head.add_lateral else head.bottleneck
        if not isinstance(encoded.activate, nn.ReLU):
            raise UserError(
                f'got the activation {type(encoded.activate).__name__}, expected ReLU, after which '
                "the gate can be folded; set act_cfg=dict(type='ReLU')."
            )
        segmentor = copy.deepcopy(segmentor).eval().requires_grad_(False)
        self.align_corners = segmentor.align_corners
        self.backbone = fuse_conv_bn(revert_sync_batchnorm(segmentor.backbone))
        self.neck = nn.Identity()
        if segmentor.with_neck:
            self.neck = fuse_conv_bn(revert_sync_batchnorm(segmentor.neck))
        self.decode_head = fuse_conv_bn(revert_sync_batchnorm(segmentor.decode_head))
        preprocessor = segmentor.data_preprocessor
        # Missing if the pipeline normalises.
        mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
        self.register_buffer('pixel_mean', torch.zeros(1, 1, 1) if mean is None else mean.clone())
        self.register_buffer('pixel_std', torch.ones(1, 1, 1) if std is None else std.clone())
        self.in_channels = input_channels(self.backbone)
        self.output_names = (
            'scores',
            *('presence',) * self.decode_head.use_se_loss,
            *('gate',) * gate,
        )

    def labels(self, scores: Tensor) -> Tensor:
        """Return the labels ``(B, 1, H, W)``, int64, of the scores of :meth:`forward`."""
        return label_pixels(scores, self.decode_head.threshold)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Segment images whose channels are in the order of the network.

        Args:
            image: ``(B, in_channels, H, W)``, float, in the range of the image files.

        Returns:
            Class scores ``(B, num_classes, H, W)``, or the probability ``(B, 1, H, W)`` of class 1
            if the head has a single score for two classes; if the head has the SE branch, the
            probability ``(B, num_classes)`` that each class is present; and, if asked for, the gate
            ``(B, channels)``.
        """
        head = self.decode_head
        features = head.fuse(self.neck(self.backbone((image - self.pixel_mean) / self.pixel_std)))
        vector, gate, _ = head.enc_module.describe(features)
        factors = head.enc_module.channel_factors(gate)
        weight = head.conv_seg.weight.flatten(1) * factors[:, None]
        scores = torch.baddbmm(head.conv_seg.bias[:, None], weight, features.flatten(2))
        scores = scores.unflatten(2, features.shape[2:])
        scores = F.interpolate(
            scores, size=image.shape[2:], mode='bilinear', align_corners=self.align_corners
        )
        if scores.shape[1] == 1:
            scores = scores.sigmoid()
        outputs = [scores]
        if head.use_se_loss:
            outputs.append(head.se_layer(vector).sigmoid())
        if 'gate' in self.output_names:
            outputs.append(gate)
        return tuple(outputs)
