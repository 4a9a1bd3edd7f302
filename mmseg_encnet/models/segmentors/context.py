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
from mmseg.models.segmentors import BaseSegmentor
from mmseg.models.utils import resize
from torch import Tensor

from mmseg_encnet.models.decode_heads.encoding_head import HeadOutput

# 'gate' (B, channels) and, if the head has the SE branch, 'presence' (B, num_classes): names of
# fields of a prediction.
Context = dict[str, Tensor]

FIELDS = ('gate', 'presence')


def segment(segmentor: BaseSegmentor, images: Tensor) -> tuple[Tensor, Context, HeadOutput]:
    """Run a segmentor with an :class:`EncodingHead` on images ``(B, 3, H, W)``.

    Returns:
        Logits ``(B, num_classes, H, W)``, the context of each image, and all outputs of the head.
    """
    output = segmentor.decode_head.forward_context(segmentor.extract_feat(images))
    logits = resize(
        output.seg_logits,
        size=images.shape[2:],
        mode='bilinear',
        align_corners=segmentor.decode_head.align_corners,
        warning=False,
    )
    context = dict(gate=output.gate)
    if output.se_logits is not None:
        context['presence'] = output.se_logits.sigmoid()
    return logits, context, output


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
