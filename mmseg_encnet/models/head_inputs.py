"""Refuse heads that select feature maps that the backbone does not return."""

from __future__ import annotations

from typing import Any

from mmseg.models.necks import JPU
from torch import nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.parts import heads_of
from mmseg_encnet.values import brief


def check_head_inputs(model: nn.Module) -> None:
    """Check ``in_index`` of every head of a segmentor.

    Raises:
        UserError: An index is not an integer, or outside the feature maps of backbone and neck.
    """
    model = getattr(model, 'module', model)
    count = _number_of_features(model)
    for entry, head in heads_of(model):
        chosen = getattr(head, 'in_index', None)
        if chosen is None:
            continue
        for index in chosen if isinstance(chosen, (list, tuple)) else [chosen]:
            check_index(index, count, f'model.{entry}')


def check_index(index: Any, count: int | None, head: str) -> None:
    """Check that a head selects one of the feature maps of the backbone or neck.

    Args:
        index: The index, or one of several.
        count: Number of feature maps, None if it is unknown.
        head: Name of the head for messages.

    Raises:
        UserError: It is not an integer, or there is no such feature map.
    """
    if type(index) is not int:
        raise UserError(f'got {brief(index)} in {head}.in_index, expected an integer; correct it.')
    if count is not None and not -count <= index < count:
        raise UserError(
            f'got {index} in {head}.in_index, but the backbone or neck returns {count} feature '
            f'map{"s" * (count != 1)}; choose from 0 to {count - 1}, or change out_indices of the '
            'backbone.'
        )


def _number_of_features(model: nn.Module) -> int | None:
    """Return the number of feature maps that the heads choose from, None if it is unknown."""
    neck = getattr(model, 'neck', None)
    if isinstance(neck, JPU):
        return neck.backbone_end_level - neck.start_level
    if neck is not None:
        return getattr(neck, 'num_outs', None)
    indices = getattr(model.backbone, 'out_indices', None) if hasattr(model, 'backbone') else None
    return len(indices) if isinstance(indices, (list, tuple)) else None
