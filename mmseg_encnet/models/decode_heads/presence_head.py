"""Presence of classes for any segmentor: EncNet's SE branch as an auxiliary head.

Zhang et al., "Context Encoding for Semantic Segmentation", CVPR 2018, section 3.1. Unlike
:class:`AuxEncodingHead`, which only regularises the training, this head also predicts.
"""

from __future__ import annotations

from mmseg.registry import MODELS

from mmseg_encnet.models.decode_heads.aux_encoding_head import AuxEncodingHead


@MODELS.register_module()
class PresenceHead(AuxEncodingHead):
    """Predicts which classes are in an image, from any stage of any backbone or neck.

    ``sigmoid(W v)`` with the encoded semantics ``v = mean_k relu(norm(encode(project(conv(x)))))``
    of :class:`mmseg_encnet.nn.SemanticsEncoding`. With ``encoder=dict(type='GlobalAverage')`` the
    projected features are averaged instead of encoded.

    For ``auxiliary_head`` of a segmentor, alone or in a list with others, with any decode head.
    The stock segmentors train it; in a :class:`ContextEncoderDecoder` (for cascades, a
    :class:`ContextCascadeEncoderDecoder`) predictions also have its ``presence``, which
    ``PresenceMetric``, ``test_cfg.presence_threshold`` and context sheets use as that of an
    :class:`EncodingHead`. ::

        model = dict(
            type='ContextEncoderDecoder',
            auxiliary_head=dict(type='PresenceHead', in_channels=256, in_index=3, num_classes=150),
        )

    Arguments and errors are those of :class:`AuxEncodingHead`.

    Example:
        >>> import torch
        >>> from mmseg_encnet.models import PresenceHead
        >>> head = PresenceHead(in_channels=64, num_classes=5, encoder=dict(type='GlobalAverage'))
        >>> head.eval()([torch.rand(2, 64, 15, 15)]).sigmoid().shape
        torch.Size([2, 5])
    """
