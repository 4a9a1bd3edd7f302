"""Configs as plain data: what a folder of the hub contains, and what is accepted from one.

A config of the toolbox can run code in many ways: it is a Python file, names modules to import, and
any dotted ``type`` is looked up as a Python object and called. Here a config is JSON, and a type is
the name of a registered class of PyTorch, the toolbox or this package.
"""

from __future__ import annotations

import copy
import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from mmengine.config import Config

from mmseg_encnet.configuration.tree import join, registered, walk
from mmseg_encnet.errors import UserError
from mmseg_encnet.values import brief

# Facts about the machine or the session that trained the network.
_LEFT_OUT = (
    'auto_scale_lr',
    'custom_hooks',
    'custom_imports',
    'default_hooks',
    'env_cfg',
    'launcher',
    'load_from',
    'load_from_strict',
    'log_level',
    'log_processor',
    'resume',
    'vis_backends',
    'visualizer',
    'work_dir',
)
# Entries by which a network reads further files or runs what others wrote, with their harmless
# values.
_READS_FILES = {
    'init_cfg': (None,),
    'pretrained': (None, False),
    'checkpoint': (None,),
    'diffusion_cfg': (None,),
    'checkpoint_path': (None, ''),
    'trust_remote_code': (None, False),
}
_PACKAGES = ('mmcv', 'mmengine', 'mmseg', 'mmseg_encnet', 'torch')
_SCOPES = ('mmengine.', 'mmseg.')
_DOTTED = re.compile(r'[A-Za-z_]\w*(\.[A-Za-z_]\w*)+')


def to_plain(cfg: Config) -> dict[str, Any]:
    """Return a config as JSON can store it, without what only concerns the machine that wrote it.

    Pretrained weights are not named any more, because the folder has the trained ones, and of paths
    outside the working directory only the last part is kept. Entries other than the model and its
    pipeline that use types of other packages are left out.

    Raises:
        UserError: The model contains something that is no plain data.
    """
    entries = {key: value for key, value in cfg.to_dict().items() if key not in _LEFT_OUT}
    plain = {}
    for key, value in entries.items():
        try:
            plain[key] = _plain(value, key)
            if key.endswith('_dataloader'):
                _replace_foreign_data_sets(plain[key])
            check_types(plain[key], key)
        except UserError:
            if key in ('model', 'test_dataloader'):
                raise
            plain.pop(key, None)
    return plain


def tuples(cfg: Mapping[str, Any]) -> list[str]:
    """Return the paths of the tuples in a config, which JSON stores as lists."""
    return [path for path, value in walk(cfg) if isinstance(value, tuple)]


def with_tuples(node: Any, paths: Sequence[str], path: str = '') -> Any:
    """Return plain data with the lists at some paths as tuples."""
    if isinstance(node, dict):
        return {key: with_tuples(value, paths, join(path, key)) for key, value in node.items()}
    if isinstance(node, list):
        values = [with_tuples(value, paths, join(path, index)) for index, value in enumerate(node)]
        return tuple(values) if path in paths else values
    return node


def check_plain(node: Any) -> None:
    """Check that a config from a stranger cannot make the toolbox read files or run code.

    Raises:
        UserError: It names modules, files of weights or a type that is no class of the toolbox.
    """
    for path, value in walk(node):
        name = path.rpartition('.')[2]
        if name == 'custom_imports' or name == '_scope_':
            raise UserError(
                f'its {path} names code to import, which is never done for a network from the hub; '
                'remove it.'
            )
        if name in _READS_FILES and value not in _READS_FILES[name]:
            raise UserError(
                f'its {path}={brief(value)} would read other files; set it to None, as '
                'save_pretrained does.'
            )
    check_types(node, '')


def check_types(node: Any, path: str) -> None:
    """Check that every ``type`` is the name of a registered class of the toolbox or this package.

    Raises:
        UserError: One is not.
    """
    known = _known_types()
    for place, value in walk(node, path):
        name = place.rpartition('.')[2]
        if name == 'type':
            wrong = not isinstance(value, str) or _unscoped(value) not in known
        else:
            # Some classes look up further arguments as the registries do.
            wrong = isinstance(value, str) and value not in known and _is_python_object(value)
        if wrong:
            raise UserError(
                f'its {place}={brief(value)} is not a class of MMSegmentation or mmseg_encnet; '
                'only these are built from a hub folder.'
            )


def _unscoped(name: str) -> str:
    for scope in _SCOPES:
        name = name.removeprefix(scope)
    return name


def _is_python_object(text: str) -> bool:
    """Return whether a registry would look up a text as an object of an installed module."""
    if not _DOTTED.fullmatch(text):
        return False
    try:
        return importlib.util.find_spec(text.partition('.')[0]) is not None
    except (ImportError, ValueError):
        return True


def _known_types() -> set[str]:
    return {
        name
        for name, value in registered()
        if isinstance(value, type) and value.__module__.split('.')[0] in _PACKAGES
    }


def _plain(node: Any, path: str) -> Any:
    name = path.rpartition('.')[2]
    if name in _READS_FILES:
        return None
    if isinstance(node, Mapping):
        return {str(key): _plain(value, join(path, key)) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        values = [_plain(value, join(path, index)) for index, value in enumerate(node)]
        return tuple(values) if isinstance(node, tuple) else values
    if isinstance(node, type) and name == 'type':
        return node.__name__
    if isinstance(node, str):
        return _without_folders(node)
    if node is None or isinstance(node, (bool, int, float)):
        return node
    raise UserError(
        f'the entry {path} of the config is a {type(node).__name__}, expected plain data; only '
        'numbers, text, lists and dictionaries can be stored on the hub.'
    )


def _without_folders(text: str) -> str:
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(text)
        if path.is_absolute() or text.startswith('~'):
            return path.name
    return text


def _replace_foreign_data_sets(dataloader: Any) -> None:
    """Replace data sets of other packages, whose pipelines remain."""
    known = _known_types()
    node = dataloader.get('dataset') if isinstance(dataloader, dict) else None
    while isinstance(node, dict):
        if str(node.get('type')).removeprefix('mmseg.') not in known and 'pipeline' in node:
            kept = {key: node[key] for key in ('metainfo', 'pipeline') if key in node}
            node.clear()
            node.update(copy.deepcopy(kept), type='BaseSegDataset')
        node = node.get('dataset') or next(iter(node.get('datasets') or ()), None)
