"""Trained networks that ship inside this package.

A file of ``mmseg_encnet/weights`` contains what training has changed: the heads in half precision,
and of the backbone the differences from its packaged ImageNet weights, those of convolutions as
eight-bit integers with a scale per output channel. Importing this module registers the checkpoint
scheme ``shipped://`` with mmengine, for ``load_from='shipped://encnet_lite0_msrc21'``. Where a tool
takes a checkpoint, the word ``pretrained`` means the shipped network of its config.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmseg_encnet.checkpoints.content import dataset_meta
from mmseg_encnet.checkpoints.packages import load_packaged_weights
from mmseg_encnet.checkpoints.whole_files import write_whole
from mmseg_encnet.errors import UserError, about, type_and_first_line
from mmseg_encnet.extras import require
from mmseg_encnet.plain_json import parse_json

SCHEME = 'shipped://'
PRETRAINED = 'pretrained'
FOLDER = Path(__file__).resolve().parents[1] / 'weights'
_BACKBONE = 'backbone.'
_DIFFERENCE, _SCALE = '#difference', '#scale'
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
    return read_packed(FOLDER / f'{name}.safetensors')


def read_packed(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that :func:`write_packed` wrote; see :func:`load_shipped_weights`."""
    safetensors = require('safetensors', 'lite')
    try:
        with safetensors.safe_open(path, framework='pt') as file:
            facts = file.metadata() or {}
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f'{path} cannot be read ({error}); reinstall mmseg_encnet.') from error
    if _digest(stored) != facts.get('sha1'):
        raise UserError(f'{path} does not match its checksum; reinstall mmseg_encnet.')
    with about(str(path)):
        try:
            return _unpacked(stored, facts)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f'does not have the format of a shipped network ({type_and_first_line(error)}); '
                'reinstall mmseg_encnet.'
            ) from error


def _unpacked(
    stored: Mapping[str, Tensor], facts: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return state dict, and names and colours of the classes."""
    base = load_packaged_weights(facts['backbone'])
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
    meta = dataset_meta(dict(meta=dict(dataset_meta=parse_json(facts['dataset_meta']))))
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
    save = require('safetensors.torch', 'lite').save
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
    facts = dict(backbone=backbone, dataset_meta=json.dumps(meta), sha1=_digest(stored))
    write_whole(path, save(stored, metadata=facts))


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


def _digest(stored: Mapping[str, Tensor]) -> str:
    sha1 = hashlib.sha1()
    for key in sorted(stored):
        sha1.update(key.encode())
        sha1.update(stored[key].contiguous().numpy().tobytes())
    return sha1.hexdigest()
