"""The heads of a segmentor: which of them labels pixels, and which predicts presence."""

from __future__ import annotations

from mmseg.models.segmentors import BaseSegmentor
from torch import nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.decode_heads.encoding_head import EncodingHead
from mmseg_encnet.models.decode_heads.presence_head import PresenceHead
from mmseg_encnet.models.head_inputs import check_head_inputs
from mmseg_encnet.models.parts import heads_of


def labelling_head(segmentor: BaseSegmentor) -> nn.Module:
    """Return the head whose scores label the pixels: of a cascade, the last one."""
    head = segmentor.decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def presence_head(segmentor: BaseSegmentor) -> PresenceHead | None:
    """Return the :class:`PresenceHead` of a segmentor."""
    for _, head in heads_of(segmentor, 'auxiliary_head'):
        if isinstance(head, PresenceHead):
            return head
    return None


def has_se_branch(head: nn.Module) -> bool:
    """Return whether a decode head predicts presence itself."""
    return isinstance(head, EncodingHead) and head.use_se_loss


def check_heads(segmentor: BaseSegmentor) -> None:
    """Check that the heads of a segmentor agree, as far as is known without a forward pass.

    Raises:
        UserError: More than one head predicts presence, a :class:`PresenceHead` has another
            number of classes than the decode head, or a head takes an output that the backbone or
            neck does not have.
    """
    check_head_inputs(segmentor)
    predicting = ['decode_head'] * has_se_branch(labelling_head(segmentor))
    for key, head in heads_of(segmentor, 'auxiliary_head'):
        if not isinstance(head, PresenceHead):
            continue
        predicting.append(key)
        if head.num_classes != segmentor.num_classes:
            raise UserError(
                f'got model.{key}.num_classes={head.num_classes}, but model.decode_head has '
                f'num_classes={segmentor.num_classes}; set both to the number of classes of the '
                'data.'
            )
    if len(predicting) > 1:
        raise UserError(
            f'got {len(predicting)} heads that predict presence '
            f'({", ".join(f"model.{key}" for key in predicting)}), expected one; set '
            'use_se_loss=False of the EncodingHead, or use AuxEncodingHead for heads that only '
            'training needs.'
        )
