"""Memory layout of the images that a network trains on."""

from __future__ import annotations

import torch
from mmseg.models.backbones import ResNet
from mmseg.models.decode_heads import ASPPHead, FCNHead, PSPHead
from mmseg.models.necks import JPU
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor

from mmseg_encnet.models.backbones import EfficientNetLite, ResNetV1s
from mmseg_encnet.models.decode_heads import (
    AuxEncodingHead,
    AuxFCNHead,
    EncodingHead,
    PresenceHead,
)
from mmseg_encnet.models.parts import heads_of

# Not their subclasses: some modules of the toolbox and of others need the contiguous layout.
_LAYOUT_FREE = {
    ASPPHead,
    AuxEncodingHead,
    AuxFCNHead,
    EfficientNetLite,
    EncodingHead,
    FCNHead,
    JPU,
    PSPHead,
    PresenceHead,
    ResNet,
    ResNetV1s,
}


def in_training_layout(images: Tensor, segmentor: BaseSegmentor) -> Tensor:
    """Return images ``(B, C, H, W)`` in the layout in which a segmentor trains fastest.

    Convolutional networks keep the layout of the images. On the CPU, oneDNN's convolutions, which
    do not exist in double precision, have faster backward passes in channels-last layout. Dropout
    draws other values than in the contiguous layout.
    """
    if images.device.type != 'cpu' or images.dtype == torch.float64:
        return images
    parts = [segmentor.backbone, *(head for _, head in heads_of(segmentor))]
    if segmentor.with_neck:
        parts.append(segmentor.neck)
    if all(type(part) in _LAYOUT_FREE for part in parts):
        return images.contiguous(memory_format=torch.channels_last)
    return images
