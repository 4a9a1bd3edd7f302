"""The context of an image: from the head's output, and merged over windows and views.

The rule of all predictions:

- ``presence`` is the maximum over the windows of a view, because a class is in the image if it is
  in one of its windows, and the mean over the views (mirror images and scales), each of which
  shows the whole image;
- ``gate`` is the mean over the windows and over the views.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor, nn

from mmseg_encnet.models.decode_heads.encoding_head import EncodingHead
from mmseg_encnet.models.segmentors.heads import labelling_head, presence_head

# 'gate' (B, channels) and 'presence' (B, num_classes), each if a head predicts it: names of fields
# of a prediction.
Context = dict[str, Tensor]

FIELDS = ('gate', 'presence')


class Segmentation(NamedTuple):
    """What a segmentor computes for a batch of images.

    Attributes:
        logits: ``(B, num_classes, h, w)`` in the resolution of the head, to be upsampled to that
            of the images.
        context: The context of each image; empty unless the decode head is an
            :class:`EncodingHead` or there is a :class:`PresenceHead`.
        features: Features before the gate ``(n, channels, h, w)`` of the images for which maps
            were requested; None without a gate.
        assignments: Soft assignments ``(n, num_codes, h, w)`` of these images; None without a
            dictionary.
    """

    logits: Tensor
    context: Context
    features: Tensor | None = None
    assignments: Tensor | None = None


class Network(Protocol):
    """What computes a segmentor instead of its layers, see :mod:`mmseg_encnet.runtimes`."""

    def __call__(self, images: Tensor, maps: Sequence[int] = ()) -> Segmentation: ...


def segment(segmentor: BaseSegmentor, images: Tensor, maps: Sequence[int] = ()) -> Segmentation:
    """Run a segmentor, or the network in its place, on images ``(B, channels, H, W)``.

    Args:
        segmentor: The segmentor.
        images: The images.
        maps: Indices of the images for which to return features and assignments.
    """
    network: Network | None = getattr(segmentor, 'network', None)
    return compute(segmentor, images, maps) if network is None else network(images, maps)


def compute(segmentor: BaseSegmentor, images: Tensor, maps: Sequence[int] = ()) -> Segmentation:
    """Run the layers of a segmentor on images ``(B, channels, H, W)``.

    Args:
        segmentor: The segmentor.
        images: The images.
        maps: Indices of the images for which to return features and assignments.
    """
    head, aside = labelling_head(segmentor), presence_head(segmentor)
    metas = [dict(img_shape=images.shape[2:])] * len(images)
    if not isinstance(head, EncodingHead) and aside is None and not _returns_its_output(head):
        # Heads with a prediction of their own return it upsampled.
        return Segmentation(segmentor.encode_decode(images, metas), {})
    inputs = segmentor.extract_feat(images)
    context: Context = {}
    features = assignments = None
    if isinstance(head, EncodingHead):
        output = head.forward_context(inputs)
        logits, context['gate'] = output.seg_logits, output.gate
        if output.se_logits is not None:
            context['presence'] = output.se_logits.sigmoid()
        if maps:
            features = output.features[maps]
            assignments = head.assign(output.projection[maps])
    else:
        logits = (
            head.forward(inputs) if _returns_its_output(head) else _decode(segmentor, inputs, metas)
        )
    if aside is not None:
        # After the decode head, as in training.
        presence = aside.forward_context(inputs)
        context['presence'] = presence.se_logits.sigmoid()
        if maps and assignments is None:
            assignments = aside.assign(presence.projection[maps])
    return Segmentation(logits, context, features, assignments)


def _returns_its_output(head: nn.Module) -> bool:
    """Return whether a head predicts what its forward pass returns, upsampled."""
    return all(
        getattr(type(head), name, None) is getattr(BaseDecodeHead, name)
        for name in ('predict', 'predict_by_feat')
    )


def _decode(
    segmentor: BaseSegmentor, inputs: Sequence[Tensor], metas: list[dict[str, Any]]
) -> Tensor:
    """Return what ``encode_decode`` returns, from features."""
    heads = segmentor.decode_head
    if not isinstance(heads, nn.ModuleList):
        return heads.predict(inputs, metas, segmentor.test_cfg)
    previous = heads[0].forward(inputs)
    for head in heads[1:-1]:
        previous = head.forward(inputs, previous)
    last: Any = heads[-1]
    return last.predict(inputs, previous, metas, segmentor.test_cfg)


def merge_windows(contexts: Sequence[Context]) -> Context:
    """Merge the contexts of windows, whose values all have the shape of the result."""
    stacked = {key: torch.stack([context[key] for context in contexts]) for key in contexts[0]}
    return {
        key: values.amax(dim=0) if key == 'presence' else values.mean(dim=0)
        for key, values in stacked.items()
    }


def merge_views(contexts: Sequence[Context]) -> Context:
    """Merge contexts of one or more views of an image each, ``(views, ...)``, to ``(...)``."""
    return {
        key: torch.cat([context[key] for context in contexts]).mean(dim=0) for key in contexts[0]
    }
