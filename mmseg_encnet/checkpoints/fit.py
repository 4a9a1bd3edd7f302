"""Refusing a model that does not fit its checkpoint or its data, before either is half used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mmseg_encnet.errors import UserError


def plain_state_dict(checkpoint: Any) -> dict[str, Tensor]:
    """The weights in a loaded checkpoint, by the names that an unwrapped model gives them.

    Raises:
        UserError: If it holds anything else.
    """
    weights = checkpoint
    if isinstance(weights, Mapping):
        weights = weights.get('state_dict', weights)
    if not isinstance(weights, Mapping):
        raise UserError(
            f'it holds a {type(weights).__name__} instead of weights by name; take a '
            'checkpoint that a training wrote.'
        )
    return {re.sub(r'^module\.', '', str(key)): value for key, value in weights.items()}


def check_fits(model: nn.Module, state_dict: Mapping[str, Tensor], whole: bool) -> None:
    """Check that a state dict belongs to a model.

    The toolbox loads what fits and logs the rest as a warning, so a network with the wrong
    classifier goes on with a random one.

    Args:
        model: The segmentor.
        state_dict: What is about to be loaded, from :func:`plain_state_dict`.
        whole: Whether every parameter has to be there (a test), or missing ones keep their
            initial value (training that starts from other weights). Auxiliary heads may be
            missing in both cases: they only serve training.

    Raises:
        UserError: Naming the first key that does not fit.
    """
    expected = model.state_dict()
    for key, value in expected.items():
        found = state_dict.get(key)
        if found is None or found.shape == value.shape:
            continue
        if re.search(r'(conv_seg|se_layer)\.(weight|bias)$', key):
            raise UserError(
                f"it is for {found.shape[0]} classes, the config's model has {value.shape[0]} "
                f'({key}); take the checkpoint of this config, set num_classes of its heads, or '
                'keep only the backbone with --cfg-options load_from=None '
                'model.backbone.init_cfg.type=Pretrained '
                'model.backbone.init_cfg.checkpoint=FILE model.backbone.init_cfg.prefix=backbone.'
            )
        raise UserError(
            f"its {key} has shape {tuple(found.shape)}, the config's model has "
            f'{tuple(value.shape)}; take the checkpoint that was trained with this config.'
        )
    missing = [
        key
        for key in expected
        if key not in state_dict
        and not key.startswith('auxiliary_head.')
        and not key.endswith('num_batches_tracked')
    ]
    if missing and (whole or len(missing) == len(expected)):
        raise UserError(
            f"it lacks {len(missing)} of the model's {len(expected)} entries, the first is "
            f'{missing[0]}; take the checkpoint that was trained with this config.'
        )
