"""Find misspelt types in a config before anything is built."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import mmengine.registry
import mmseg.registry
from mmengine.registry import Registry

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
    registries = _registries()
    known = {name for registry in registries for name in registry.module_dict}
    for key in _BUILT_KEYS:
        for path, name in _types(cfg.get(key), key):
            # A name with a scope belongs to another toolbox, which resolves it itself.
            if name not in known and '.' not in name:
                raise UserError(_unknown(path, name, known))


def _registries() -> list[Registry]:
    """Return the toolbox's registries, with their parts imported."""
    found = {}
    for module in (mmseg.registry, mmengine.registry):
        for value in vars(module).values():
            if isinstance(value, Registry):
                value.import_from_location()
                found[id(value)] = value
    return list(found.values())


def _types(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        if isinstance(node.get('type'), str):
            yield f'{path}.type', node['type']
        for key, value in node.items():
            yield from _types(value, f'{path}.{key}')
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for index, value in enumerate(node):
            yield from _types(value, f'{path}.{index}')


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
