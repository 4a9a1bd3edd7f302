"""Checks of what a caller passes, made before anything is built or downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from mmseg_encnet.errors import UserError

# The features have an eighth of the image's size.
_SMALLEST_CROP = 8
_NORMS = {'BatchNorm2d': 'BN', 'SyncBatchNorm': 'SyncBN'}


def check_switches(**switches: Any) -> None:
    """Check that every argument is a bool."""
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise UserError(f'got {name}={value!r}, expected True or False.')


def check_size(name: str, value: Any, smallest: int = 1) -> int:
    """Return a whole number that is large enough."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < smallest:
        raise UserError(f'got {name}={value!r}, expected a whole number of at least {smallest}.')
    return int(value)


def check_crop_size(value: Any) -> int:
    """Return the side of the square crops, in pixels."""
    return check_size('crop_size', value, _SMALLEST_CROP)


def channel_values(name: str, value: Any, smallest: float) -> list[float]:
    """Return three numbers from ``smallest`` to 1, one for each colour."""
    values = list(value) if isinstance(value, Iterable) else []
    if len(values) != 3 or not all(
        isinstance(number, Real) and smallest <= float(number) <= 1 for number in values
    ):
        raise UserError(
            f'got {name}={value!r}, expected three numbers from {smallest:g} to 1, the statistics '
            'of RGB values from 0 to 1; divide statistics of values up to 255 by 255.'
        )
    return [float(number) for number in values]


def norm_config(norm_layer: Any) -> dict[str, str]:
    """Return the toolbox's config of a norm layer that is given as a class."""
    # By name: PyTorch-Encoding and apex have a SyncBatchNorm each.
    name = getattr(norm_layer, '__name__', None)
    if name not in _NORMS:
        raise UserError(
            f'got norm_layer={norm_layer!r}, expected torch.nn.BatchNorm2d or '
            'torch.nn.SyncBatchNorm; set other norms with backbone=dict(norm_cfg=...), '
            'decode_head=dict(norm_cfg=...) and auxiliary_head=dict(norm_cfg=...).'
        )
    return dict(type=_NORMS[name])


def align_corners(up_kwargs: Any) -> bool:
    """Return whether ``up_kwargs``, arguments of ``F.interpolate``, align corners."""
    given = dict(up_kwargs) if isinstance(up_kwargs, Mapping) else {}
    aligned = given.pop('align_corners', True)
    if given != dict(mode='bilinear') or not isinstance(aligned, bool):
        raise UserError(
            f"got up_kwargs={up_kwargs!r}, expected dict(mode='bilinear', align_corners=True) or "
            'the same with False; MMSegmentation resizes scores bilinearly.'
        )
    return aligned


def folder(root: Any) -> Path:
    """Return the folder of downloads, ``~`` expanded."""
    if not isinstance(root, (str, os.PathLike)):
        raise UserError(f'got root={root!r}, expected the path of a folder.')
    path = Path(root).expanduser()
    if any(part.exists() and not part.is_dir() for part in (path, *path.parents)):
        raise UserError(f'got root={str(root)!r}, expected a folder; it is a file or below one.')
    return path


def weights_file(pretrained: Any) -> Path | None:
    """Return the file of weights, ``~`` expanded, or None if ``pretrained`` is a bool."""
    if isinstance(pretrained, bool):
        return None
    if not isinstance(pretrained, (str, os.PathLike)):
        raise UserError(
            f'got pretrained={pretrained!r}, expected True, False or the path of a checkpoint.'
        )
    path = Path(pretrained).expanduser()
    if not path.is_file():
        raise UserError(f'checkpoint {path} does not exist; check the path.')
    return path
