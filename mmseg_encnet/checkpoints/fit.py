"""Refuse weights that do not belong to a model, before half of them are loaded."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmseg_encnet.checkpoints.whole_files import CONVERTER
from mmseg_encnet.errors import UserError
from mmseg_encnet.values import brief

# An entry by which to recognise checkpoints that have to be converted.
_FOREIGN = {
    'PyTorch-Encoding or FastFCN': 'head.encmodule.fc.0.weight',
    "PyTorch-Encoding's ImageNet backbones": 'conv1.0.weight',
}


class UnfitWeightsError(UserError):
    """Weights cannot be used.

    The message starts with a verb; the caller puts the file in front.
    """


def plain_state_dict(checkpoint: Any) -> dict[str, Tensor]:
    """Return the weights in a loaded checkpoint, with the names of an unwrapped model.

    Raises:
        UnfitWeightsError: The checkpoint contains no state dict.
    """
    weights = checkpoint
    if isinstance(weights, Mapping):
        weights = weights.get('state_dict', weights)
    if not isinstance(weights, Mapping):
        raise UnfitWeightsError(
            f'contains a {type(weights).__name__}, expected a state dict; use a checkpoint '
            'written by a training run.'
        )
    return {re.sub(r'^module\.', '', str(key)): value for key, value in weights.items()}


def is_dense(value: Any) -> bool:
    """Return whether a value is a tensor whose numbers lie in memory one by one."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and not value.is_quantized
        and not value.is_meta
    )


def nonfinite_entries(state_dict: Mapping[str, Any], buffers: Collection[str] = ()) -> list[str]:
    """Return the names of the entries that hold NaN or infinite values.

    Args:
        state_dict: Weights by name; entries that are not floating-point tensors are skipped.
        buffers: Names of buffers. Except for running statistics, they may contain infinities, as
            masks do on purpose.
    """
    return [
        name
        for name, value in state_dict.items()
        if is_dense(value)
        and value.is_floating_point()
        and not (
            ~value.isnan()
            if name in buffers and not name.endswith(('running_mean', 'running_var'))
            else value.isfinite()
        ).all()
    ]


def check_finite(state_dict: Mapping[str, Any], buffers: Collection[str] = ()) -> None:
    """Check that no weight or running statistic is NaN or infinite; see `nonfinite_entries`.

    Raises:
        UnfitWeightsError: An entry is NaN or infinite; the message names the first.
    """
    wrong = nonfinite_entries(state_dict, buffers)
    if wrong:
        entries = f'{len(wrong)} entries' if len(wrong) > 1 else 'an entry'
        raise UnfitWeightsError(
            f'contains {entries} with NaN or infinite values '
            f'({wrong[0]}{", ..." * (len(wrong) > 1)}); use an earlier '
            'checkpoint of the same run.'
        )


_CLASSIFIER = re.compile(r'(conv_seg|se_layer|fc_seg)\.(weight|bias)$')


def leave_out_classifiers(model: nn.Module, checkpoint: dict[str, Any]) -> list[str]:
    """Replace a checkpoint's classifiers for another number of classes with the model's own.

    Args:
        model: The segmentor.
        checkpoint: Loaded checkpoint, changed in place.

    Returns:
        The names of the replaced entries, of the decode head, the auxiliary heads and their SE
        branches.
    """
    weights = checkpoint.get('state_dict', checkpoint)
    expected = model.state_dict()
    replaced = []
    for key in list(weights):
        name = re.sub(r'^module\.', '', str(key))
        own, value = expected.get(name), weights[key]
        if (
            own is not None
            and isinstance(value, Tensor)
            and _CLASSIFIER.search(name)
            and value.shape[1:] == own.shape[1:]
            and value.shape != own.shape
        ):
            weights[key] = own
            replaced.append(name)
    return replaced


def check_fits(model: nn.Module, state_dict: Mapping[str, Tensor], whole: bool) -> None:
    """Check that a state dict belongs to a model and is finite.

    The toolbox loads the entries that fit and only logs a warning about the others, so a classifier
    of the wrong size keeps its random initialisation.

    Args:
        model: The segmentor.
        state_dict: Weights to load, from :func:`plain_state_dict`.
        whole: Whether every parameter is required (testing) or missing ones keep their initial
            values (training that starts from other weights). Auxiliary heads may be missing in
            both cases, because only training uses them, except for one that predicts presence.

    Raises:
        UnfitWeightsError: An entry is missing, has another shape, or is not finite; the message
            names the first.
    """
    expected = model.state_dict()
    framework = next(
        (name for name, key in _FOREIGN.items() if key in state_dict and key not in expected), None
    )
    if framework:
        raise UnfitWeightsError(f'is one of {framework}; convert it first: {CONVERTER}')
    for key, value in expected.items():
        if key not in state_dict:
            continue
        found = state_dict[key]
        if not is_dense(found):
            raise UnfitWeightsError(
                f'has {brief(found)} as {key}, expected a dense tensor; use a checkpoint that was '
                'trained with this config.'
            )
        if found.shape == value.shape:
            continue
        if _CLASSIFIER.search(key) and found.shape[1:] == value.shape[1:]:
            raise UnfitWeightsError(
                f'is for {found.shape[0]} classes, but the model of the config has '
                f'{value.shape[0]} ({key}); use the checkpoint of this config, or set num_classes '
                'of its heads.'
            )
        raise UnfitWeightsError(
            f'has {key} of shape {tuple(found.shape)}, but the model of the config expects '
            f'{tuple(value.shape)}; use a checkpoint that was trained with this config.'
        )
    predicting = getattr(model, 'presence_head', None)
    prefixes = [f'{name}.' for name, module in model.named_modules() if module is predicting]
    missing = [
        key
        for key in expected
        if key not in state_dict
        and (not key.startswith('auxiliary_head.') or key.startswith(tuple(prefixes)))
        and not key.endswith('num_batches_tracked')
    ]
    if missing and (whole or len(missing) == len(expected)):
        raise UnfitWeightsError(
            f"lacks {len(missing)} of the model's {len(expected)} entries "
            f'({missing[0]}{", ..." * (len(missing) > 1)}); use a checkpoint '
            'that was trained with this config.'
        )
    loaded = {key: state_dict[key] for key in expected if key in state_dict}
    check_finite(loaded, dict(model.named_buffers()))
