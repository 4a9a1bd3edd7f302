"""Trained networks that ship inside this package.

A file of ``mmseg_encnet/weights`` contains what training has changed: the heads in half precision,
and of the backbone the differences from its packaged ImageNet weights, those of convolutions as
eight-bit integers with a scale per output channel. Importing this module registers the checkpoint
scheme ``shipped://`` with mmengine, for ``load_from='shipped://encnet_lite0_msrc21'``. Where a tool
takes a checkpoint, the word ``pretrained`` means the shipped network of its config.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmseg_encnet.checkpoints.content import dataset_meta
from mmseg_encnet.checkpoints.packages import load_packaged_weights
from mmseg_encnet.checkpoints.tensor_files import read_tensors, write_tensors
from mmseg_encnet.checkpoints.whole_files import DamagedFileError
from mmseg_encnet.errors import UserError, about, type_and_first_line
from mmseg_encnet.extras import require
from mmseg_encnet.plain_json import parse_json

SCHEME = 'shipped://'
PRETRAINED = 'pretrained'
FOLDER = Path(__file__).resolve().parents[1] / 'weights'
_BACKBONE = 'backbone.'
_DIFFERENCE, _SCALE = '#difference', '#scale'
# Keys of the metadata.
_BASE, _CLASSES = 'backbone', 'dataset_meta'
_LEVELS = 127


def shipped_networks() -> list[str]:
    """Return the names of the configs whose trained networks ship."""
    return sorted(path.stem for path in FOLDER.glob('*.safetensors'))


def checkpoint_name(checkpoint: str, config: str | None) -> str:
    """Resolve a checkpoint argument to a file, an address or the network shipped for a config.

    Args:
        checkpoint: The argument. ``'pretrained'`` is the shipped network of the config, unless a
            file has this name.
        config: Path of the config file.

    Raises:
        UserError: No network of the config ships.
    """
    if checkpoint != PRETRAINED or Path(checkpoint).exists():
        return checkpoint
    name = Path(config or '').stem
    _check_ships(name)
    return SCHEME + name


def load_shipped_weights(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load a network that ships with this package.

    Args:
        name: Name of its config, one of :func:`shipped_networks`.

    Returns:
        The state dict in single precision, and the names and colours of the classes.

    Raises:
        UserError: No such network ships, its file is damaged, or the package with the ImageNet
            weights of its backbone is not installed.
    """
    _check_ships(name)
    require('safetensors', 'lite')
    try:
        return read_packed(FOLDER / f'{name}.safetensors')
    except DamagedFileError as error:
        raise UserError(f'{str(error).rpartition(";")[0]}; reinstall mmseg_encnet.') from error


def read_packed(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that :func:`write_packed` wrote; see :func:`load_shipped_weights`."""
    content = read_tensors(path)
    with about(str(path)):
        return unpack(*content)


def is_packed(facts: Mapping[str, str]) -> bool:
    """Return whether the metadata of a file are those of :func:`write_packed`."""
    return {_BASE, _CLASSES} <= facts.keys()


def unpack(
    stored: Mapping[str, Tensor], facts: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return state dict and classes from the content of a packed file.

    Raises:
        UserError: The content does not have the format.
    """
    try:
        return _unpacked(stored, facts)
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f'does not have the format of a shipped network ({type_and_first_line(error)}); '
            'write it again with tools/model_converters/pack.py, or reinstall mmseg_encnet.'
        ) from error


def _unpacked(
    stored: Mapping[str, Tensor], facts: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    base = load_packaged_weights(facts[_BASE])
    state_dict = {f'{_BACKBONE}{key}': value for key, value in base.items()}
    for key, value in stored.items():
        if key.endswith(_SCALE):
            continue
        name = key.removesuffix(_DIFFERENCE)
        if key == name:
            state_dict[name] = value.float() if value.is_floating_point() else value
        else:
            scale = stored.get(name + _SCALE)
            state_dict[name] += value.float() if scale is None else value * scale
    meta = dataset_meta(dict(meta=dict(dataset_meta=parse_json(facts[_CLASSES]))))
    return state_dict, meta


def write_packed(
    path: Path,
    state_dict: Mapping[str, Tensor],
    backbone: str,
    dataset_meta: Mapping[str, Sequence],
) -> None:
    """Write what distinguishes a trained network from the ImageNet weights of its backbone.

    Args:
        path: The file.
        state_dict: Weights of the segmentor.
        backbone: Name of the packaged weights from which the backbone was trained.
        dataset_meta: Names and colours of the classes.
    """
    base = load_packaged_weights(backbone)
    stored: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        if not key.startswith(_BACKBONE):
            stored[key] = (value.half() if value.is_floating_point() else value).contiguous()
            continue
        if not value.is_floating_point():
            continue
        start = base.get(key.removeprefix(_BACKBONE))
        if start is None or start.shape != value.shape:
            raise UserError(
                f'checkpoint entry {key} of shape {tuple(value.shape)} does not belong to the '
                f'backbone {backbone}; use a checkpoint of the config.'
            )
        difference = value.float() - start
        if not difference.any():
            continue
        if difference.dim() == 1:
            stored[key + _DIFFERENCE] = difference.half()
            continue
        scale = (
            difference.flatten(1).abs().amax(1).view(-1, *[1] * (difference.dim() - 1)) / _LEVELS
        )
        levels = (difference / scale.clamp(min=torch.finfo(scale.dtype).tiny)).round()
        stored[key + _DIFFERENCE] = levels.to(torch.int8).contiguous()
        stored[key + _SCALE] = scale.contiguous()
    meta = {key: list(dataset_meta[key]) for key in ('classes', 'palette')}
    write_tensors(path, stored, {_BASE: backbone, _CLASSES: json.dumps(meta)})


@CheckpointLoader.register_scheme(prefixes=SCHEME)
def load_from_shipped(filename: str, map_location: Any = None) -> dict:
    """Load ``shipped://NAME`` for mmengine."""
    state_dict, dataset_meta = load_shipped_weights(filename.removeprefix(SCHEME))
    if map_location is not None:
        state_dict = {key: value.to(map_location) for key, value in state_dict.items()}
    return dict(state_dict=state_dict, meta=dict(dataset_meta=dataset_meta))


def _check_ships(name: str) -> None:
    names = shipped_networks()
    if name not in names:
        raise UserError(
            f'no trained network ships for {name!r}; choose one of {", ".join(names)}, or pass a '
            'checkpoint file.'
        )
