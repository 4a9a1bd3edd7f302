"""The paper's second SE loss: a Context Encoding Module on an earlier stage, for training only.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 3.2 and figure 3, put
it on stage 3 as an additional regularisation. No released version of PyTorch-Encoding has it; they
have the FCN head :class:`AuxFCNHead` there. Here the branch has no segmentation loss, which the
paper does not name for it, no gate, because there are no features for it to scale, and the channels
of the FCN head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.convolution import default_convolution
from mmseg_encnet.models.decode_heads.targets import build_se_loss, stacked_presence
from mmseg_encnet.models.encoders import build_encoding
from mmseg_encnet.models.head_inputs import check_index
from mmseg_encnet.nn.context_encoding import Reduction, SemanticsEncoding


class PresenceOutput(NamedTuple):
    """What one forward pass of an SE branch computes.

    Attributes:
        se_logits: Presence logits ``(B, num_classes)``.
        projection: The projected features ``(B, channels, H, W)`` that were encoded.
    """

    se_logits: Tensor
    projection: Tensor


@MODELS.register_module()
class AuxEncodingHead(BaseModule):
    """3x3 convolution, Context Encoding Module without gate, SE loss.

    For ``auxiliary_head`` of a segmentor, alone or in a list with others.

    Args:
        in_channels: Channels of the input feature map.
        num_classes: Number of classes.
        channels: Channels after the convolution, which are encoded; by default a quarter of
            ``in_channels``.
        in_index: Index of the input in the backbone's (or neck's) outputs.
        num_codes: Codewords K of the dictionary. If None, 32 as in the paper for encoders with a
            dictionary.
        encoder: Config of the encoder where it differs from ``dict(type='Encoding')``.
        reduction: ``'mean'`` over the codewords as in the released code, or ``'sum'`` as in the
            paper (section 3.1).
        loss_se_decode: Loss of the branch, called with logits and 0/1 presence targets
            ``(B, num_classes)``; ``SemanticEncodingLoss`` by default.
        conv_cfg: As in :class:`EncodingHead`.
        norm_cfg, act_cfg: Layer configs of the toolbox.
        ignore_index: Label of unlabelled pixels.
        init_cfg: Initialisation config of the toolbox.

    Raises:
        UserError: The encoder or the loss does not fit, see :class:`EncodingHead`; in a forward
            pass, there is no feature map ``in_index`` or it has other channels.

    Example:
        >>> import torch
        >>> from mmseg_encnet.models import AuxEncodingHead
        >>> head = AuxEncodingHead(in_channels=64, num_classes=5)
        >>> head.eval()([torch.rand(2, 64, 15, 15)]).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: int | None = None,
        in_index: int = -1,
        num_codes: int | None = None,
        encoder: dict | None = None,
        reduction: Reduction = 'mean',
        loss_se_decode: dict | None = None,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = dict(type='ReLU'),  # noqa: B006  (the toolbox's convention)
        ignore_index: int = 255,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        channels = in_channels // 4 if channels is None else channels
        layer_cfg = dict(conv_cfg=default_convolution(conv_cfg), norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.in_index = in_index
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.bottleneck = ConvModule(in_channels, channels, 3, padding=1, **layer_cfg)
        self.enc_module = build_encoding(
            SemanticsEncoding, channels, num_codes, encoder, reduction=reduction, **layer_cfg
        )
        self.se_layer = nn.Linear(channels, num_classes)
        self.loss_se_decode = build_se_loss(loss_se_decode, num_classes)

    def forward_context(self, inputs: Sequence[Tensor]) -> PresenceOutput:
        """Run the head on all outputs of the backbone or neck and return all that it computes."""
        vector, projection = self.enc_module.encode(self.bottleneck(self._select(inputs)))
        return PresenceOutput(self.se_layer(vector), projection)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return presence logits ``(B, num_classes)`` from all outputs of the backbone or neck."""
        return self.forward_context(inputs).se_logits

    def assign(self, projection: Tensor) -> Tensor | None:
        """Return the soft assignments ``(B, num_codes, H, W)`` of an encoded projection.

        None if the encoder has no dictionary.
        """
        return self.enc_module.assign(projection)

    def loss(
        self, inputs: Sequence[Tensor], batch_data_samples: SampleList, train_cfg: dict
    ) -> dict[str, Tensor]:
        """Return the SE loss of a batch, ``dict(loss_se=...)``."""
        targets = stacked_presence(batch_data_samples, self.num_classes, self.ignore_index)
        return dict(loss_se=self.loss_se_decode(self(inputs), targets))

    def _select(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the feature map to encode."""
        check_index(self.in_index, len(inputs), type(self).__name__)
        x = inputs[self.in_index]
        if isinstance(x, (list, tuple)):
            # Vision transformers can return the class token beside the feature map.
            x = x[0]
        expected = self.bottleneck.in_channels
        if x.shape[1] != expected:
            raise UserError(
                f'got features of {x.shape[1]} channels at in_index={self.in_index}, but '
                f'{type(self).__name__} has in_channels={expected}; set in_channels={x.shape[1]}, '
                'or another in_index.'
            )
        return x
