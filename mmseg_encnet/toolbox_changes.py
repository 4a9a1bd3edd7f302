"""Everything this package changes in the toolbox and in its process, in one place.

Importing ``mmseg_encnet`` calls :func:`apply` once. The environment variable
``MMSEG_ENCNET_TOOLBOX_CHANGES=none`` declines all changes; :func:`revert` undoes what was applied.
:func:`trust` lifts the guard for one checkpoint file that needs full unpickling.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import mmengine.runner.checkpoint as toolbox_checkpoint
import torch
from mmengine.runner import CheckpointLoader

from mmseg_encnet.checkpoints.plain_loading import (
    REFUSED,
    UnreadableFileError,
    allow_plain_data,
    load_plain,
)
from mmseg_encnet.checkpoints.whole_files import check_undamaged

SWITCH = 'MMSEG_ENCNET_TOOLBOX_CHANGES'
TRUSTED = 'MMSEG_ENCNET_TRUSTED_CHECKPOINTS'
_FORCED = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


@dataclass(frozen=True)
class Change:
    """One change, for the documentation.

    Attributes:
        what: What is changed.
        when: What applies it.
        why: What it is for.
    """

    what: str
    when: str
    why: str


CHANGES = (
    Change(
        '`CheckpointLoader.load_checkpoint` reads plain data only, from files and addresses',
        'import',
        'a checkpoint from a stranger cannot run code',
    ),
    Change(
        "the loader of local checkpoint files checks the archive's checksums first",
        'import',
        'a damaged file is refused instead of read as other weights',
    ),
    Change(
        f'`{_FORCED}=1`, so that every `torch.load` reads plain data only',
        'the tools in `tools/`, for their own process',
        'a checkpoint from a stranger cannot run code',
    ),
    Change(
        '`CheckpointHook` becomes `ResumableCheckpointHook` in any config',
        '`EncNetRunner`',
        'a killed training resumes bit for bit',
    ),
    Change(
        '`InfiniteSampler` becomes `SeededInfiniteSampler` in any config',
        '`EncNetRunner`',
        'a resumed training sees the same samples with the same augmentation',
    ),
    Change(
        '`OPENCV_FFMPEG_LOGLEVEL=-8` unless it is set',
        'opening a video',
        'a broken video is reported in one sentence instead of a log of its decoder',
    ),
)

# By the toolbox's name, what has the same arguments and keeps more.
_REPLACED = {
    'CheckpointHook': 'ResumableCheckpointHook',
    'InfiniteSampler': 'SeededInfiniteSampler',
}
_before: dict[str, Any] = {}
_trusted: set[Path] = set()


def declined() -> bool:
    """Return whether the environment declines all changes.

    Raises:
        ValueError: The variable is set to anything but ``none`` or ``all``.
    """
    value = os.environ.get(SWITCH, 'all')
    if value not in ('all', 'none'):
        raise ValueError(f"got {SWITCH}={value!r}, expected 'all' or 'none'; correct or unset it.")
    return value == 'none'


def apply() -> None:
    """Guard the toolbox's loading of checkpoints, unless the environment declines it."""
    if _before or declined():
        return
    _before['load_checkpoint'] = CheckpointLoader.__dict__['load_checkpoint']
    _before['local'] = CheckpointLoader._schemes.get('')
    CheckpointLoader.load_checkpoint = classmethod(_guarded(_before['load_checkpoint'].__func__))
    CheckpointLoader.register_scheme(prefixes='', loader=_load_local, force=True)
    if hasattr(toolbox_checkpoint, 'get_torch_safe_globals'):
        _before['safe_globals'] = toolbox_checkpoint.get_torch_safe_globals
        # What it allows comes in addition to what is allowed here, and is taken away afterwards.
        toolbox_checkpoint.get_torch_safe_globals = list


def revert() -> None:
    """Give the toolbox back what :func:`apply` replaced."""
    if not _before:
        return
    CheckpointLoader.load_checkpoint = _before['load_checkpoint']
    if _before['local'] is not None:
        CheckpointLoader.register_scheme(prefixes='', loader=_before['local'], force=True)
    if 'safe_globals' in _before:
        toolbox_checkpoint.get_torch_safe_globals = _before['safe_globals']
    _before.clear()


def guard_process() -> None:
    """Have every ``torch.load`` of this process read plain data only, whatever its caller asks."""
    if declined():
        return
    # torch honours this over its caller's weights_only=False.
    os.environ[_FORCED] = '1'
    allow_plain_data()


def trust(path: str | Path) -> None:
    """Allow one checkpoint file to be unpickled in full, which can run any code in it.

    The environment variable ``MMSEG_ENCNET_TRUSTED_CHECKPOINTS`` does the same for the tools: one
    or more files, separated as in ``PATH``.
    """
    _trusted.add(Path(path).expanduser().resolve())


def replaced(cfg: Any) -> Any:
    """Return the config of a hook or sampler with its type replaced, see ``CHANGES``."""
    if not isinstance(cfg, dict) or 'type' not in cfg or declined():
        return cfg
    kind = cfg['type'] if isinstance(cfg['type'], str) else cfg['type'].__name__
    name = _REPLACED.get(kind.removeprefix('mmengine.'))
    return cfg if name is None else dict(cfg, type=f'mmengine.{name}')


def _is_trusted(path: Path) -> bool:
    listed = filter(None, os.environ.get(TRUSTED, '').split(os.pathsep))
    return path.resolve() in {*_trusted, *(Path(entry).expanduser().resolve() for entry in listed)}


def _load_local(filename: str, map_location: Any) -> Any:
    """Load a local file that is what was written, in place of the toolbox's loader."""
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'{filename} can not be found.')
    check_undamaged(path)
    if _is_trusted(path):
        with _environment(_FORCED, None):
            return torch.load(path, map_location=map_location, weights_only=False)
    return load_plain(path, map_location)


def _guarded(load: Callable) -> Callable:
    @functools.wraps(load)
    def load_checkpoint(cls, filename, *args, **kwargs):
        allow_plain_data()
        with _environment(_FORCED, '1'):
            try:
                return load(cls, filename, *args, **kwargs)
            except UnpicklingError as error:
                # Files name themselves, addresses end here.
                raise UnreadableFileError(filename, REFUSED) from error

    return load_checkpoint


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """Set or, with None, unset an environment variable for a while."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
