"""The context of an image: from the head's output, and merged over windows and views.

The rule of all predictions:

- ``presence`` is the maximum over the windows of a view, because a class is in the image if it is
  in one of its windows, and the mean over the views (mirror images and scales), each of which
  shows the whole image;
- ``gate`` is the mean over the windows and over the views.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor

from mmseg_encnet.models.decode_heads.encoding_head import EncodingHead, HeadOutput

# 'gate' (B, channels) and, if the head has the SE branch, 'presence' (B, num_classes): names of
# fields of a prediction.
Context = dict[str, Tensor]

FIELDS = ('gate', 'presence')


def segment(segmentor: BaseSegmentor, images: Tensor) -> tuple[Tensor, Context, HeadOutput | None]:
    """Run a segmentor on images ``(B, channels, H, W)``.

    Returns:
        Logits ``(B, num_classes, h, w)`` in the resolution of the head, which is to be upsampled
        to that of the images; the context of each image, and all outputs of the head: empty and
        None unless it is an :class:`EncodingHead`.
    """
    head = segmentor.decode_head
    if isinstance(head, EncodingHead):
        output = head.forward_context(segmentor.extract_feat(images))
        context = dict(gate=output.gate)
        if output.se_logits is not None:
            context['presence'] = output.se_logits.sigmoid()
        return output.seg_logits, context, output
    if all(
        getattr(type(head), name) is getattr(BaseDecodeHead, name)
        for name in ('predict', 'predict_by_feat')
    ):
        return head.forward(segmentor.extract_feat(images)), {}, None
    # Heads with a prediction of their own return it upsampled.
    metas = [dict(img_shape=images.shape[2:])] * len(images)
    return segmentor.encode_decode(images, metas), {}, None


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
