"""Find misspelt types in a config before anything is built."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from mmseg_encnet.configuration.tree import registered, walk
from mmseg_encnet.errors import UserError

# Other top-level entries belong to the author of the config.
_BUILT_KEYS = (
    'model',
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'train_cfg',
    'val_cfg',
    'test_cfg',
    'optim_wrapper',
    'param_scheduler',
    'val_evaluator',
    'test_evaluator',
    'default_hooks',
    'custom_hooks',
    'visualizer',
    'tta_model',
    'tta_pipeline',
    'published_tta_model',
    'published_tta_pipeline',
)


def check_types(cfg: Mapping[str, Any]) -> None:
    """Check that every ``type`` in a config is registered.

    The toolbox's own error for an unknown type may name another type, or ``None``.

    Raises:
        UserError: A type is not registered; the message suggests the closest name.
    """
    known = {name for name, _ in registered()}
    for key in _BUILT_KEYS:
        for path, value in walk(cfg.get(key), key):
            # A name with a scope belongs to another toolbox, which resolves it itself.
            named = path.endswith('.type') and isinstance(value, str) and '.' not in value
            if named and value not in known:
                raise UserError(_unknown(path, value, known))


def _unknown(path: str, name: str, known: set[str]) -> str:
    if name == 'MMSyncBN':
        return (
            f"{path}='MMSyncBN' needs mmcv's compiled operators, which are not installed; with "
            'torch installed, build them with: '
            'pip install --no-cache-dir --no-build-isolation onedl-mmcv'
        )
    close = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f'did you mean {close[0]!r}?' if close else 'check the name and custom_imports.'
    return f'{path}={name!r} in the config is not registered; {hint}'
