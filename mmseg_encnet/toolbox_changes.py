"""All changes that this package makes to the toolbox and to its process.

Importing ``mmseg_encnet`` calls :func:`apply` once. The environment variable
``MMSEG_ENCNET_TOOLBOX_CHANGES=none`` declines all changes; :func:`revert` undoes what was applied.
:func:`trust` lifts the guard for one checkpoint file that needs full unpickling.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import mmengine.runner.checkpoint as toolbox_checkpoint
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from mmseg_encnet.checkpoints.plain_loading import (
    FORCED,
    REFUSED,
    UnreadableFileError,
    environment,
    is_trusted,
    load_from_local,
    plain_data,
    trust,
)
from mmseg_encnet.checkpoints.whole_files import check_undamaged

__all__ = [
    'CHANGES',
    'Change',
    'apply',
    'declined',
    'guard_imports',
    'guard_process',
    'replaced',
    'revert',
    'trust',
]

SWITCH = 'MMSEG_ENCNET_TOOLBOX_CHANGES'
# How many formatted configs are kept.
_TEXTS = 8


@dataclass(frozen=True)
class Change:
    """One change, as documented in ``docs/toolbox_changes.md``.

    Attributes:
        what: What is changed.
        when: What applies it.
        why: Its purpose.
    """

    what: str
    when: str
    why: str


CHANGES = (
    Change(
        '`CheckpointLoader.load_checkpoint` reads plain data only, from files and addresses',
        'importing `mmseg_encnet`',
        'a checkpoint from a stranger cannot run code',
    ),
    Change(
        "the loader of local checkpoint files checks the archive's checksums first",
        'importing `mmseg_encnet`',
        'a damaged file is refused instead of read as other weights',
    ),
    Change(
        '`Config.pretty_text` formats equal configs once',
        'importing `mmseg_encnet`',
        'a run logs and writes its config several times, and formatting takes longest',
    ),
    Change(
        f'`{FORCED}=1`, so that every `torch.load` reads plain data only',
        'the programs in `tools/`, for their own process',
        'a checkpoint from a stranger cannot run code',
    ),
    Change(
        '`CheckpointHook` becomes `ResumableCheckpointHook` in any config',
        '`EncNetRunner`',
        'an interrupted run resumes bit for bit (on the CPU, same thread count)',
    ),
    Change(
        '`EarlyStoppingHook` becomes `ResumableEarlyStoppingHook` in any config',
        '`EncNetRunner`',
        'a resumed run stops at the same validation, and NaN is no improvement',
    ),
    Change(
        '`InfiniteSampler` becomes `SeededInfiniteSampler` in any config',
        '`EncNetRunner`',
        'a resumed run sees the same samples with the same augmentation',
    ),
    Change(
        '`DefaultSampler` becomes `SeededDefaultSampler` in any config',
        '`EncNetRunner`',
        'a resumed run sees the same samples with the same augmentation',
    ),
    Change(
        '`PYTHONSAFEPATH=1` unless it is set, for the processes that they start',
        'the programs in `tools/`, for their own process',
        'a worker process imports nothing from the current folder',
    ),
    Change(
        '`PIL.Image.MAX_IMAGE_PIXELS` is raised to a larger limit of ours',
        'an image or label above 89 megapixels, if the limit is raised',
        'labels that the user has accepted can be decoded',
    ),
    Change(
        '`OPENCV_FFMPEG_LOGLEVEL=-8` unless it is set',
        'opening a video',
        'a broken video is reported in one sentence instead of the log of its decoder',
    ),
)

# Toolbox types and our extensions of them, which take the same arguments.
_REPLACED = {
    'CheckpointHook': 'ResumableCheckpointHook',
    'EarlyStoppingHook': 'ResumableEarlyStoppingHook',
    'InfiniteSampler': 'SeededInfiniteSampler',
    'DefaultSampler': 'SeededDefaultSampler',
}
# What apply() replaced, by name, with the replacement.
_applied: dict[str, tuple[Any, Any]] = {}


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
    """Guard the toolbox's loading of checkpoints, and format configs once, unless declined."""
    if _applied or declined():
        return
    load = CheckpointLoader.__dict__['load_checkpoint']
    _applied['load_checkpoint'] = load, classmethod(_guarded(load.__func__))
    CheckpointLoader.load_checkpoint = _applied['load_checkpoint'][1]
    local = CheckpointLoader._schemes.get('')
    _applied['local'] = local, _checked(local)
    CheckpointLoader.register_scheme(prefixes='', loader=_applied['local'][1], force=True)
    formatted = Config.__dict__['pretty_text']
    _applied['pretty_text'] = formatted, _remembering(formatted)
    Config.pretty_text = _applied['pretty_text'][1]
    if hasattr(toolbox_checkpoint, 'get_torch_safe_globals'):
        # The toolbox adds these names to those of plain_data(), among them the real getattr.
        _applied['safe_globals'] = toolbox_checkpoint.get_torch_safe_globals, list
        toolbox_checkpoint.get_torch_safe_globals = list


def revert() -> None:
    """Undo :func:`apply`, except where another package has replaced the replacement since."""
    applied, nothing = dict(_applied), (None, None)
    _applied.clear()
    before, ours = applied.get('load_checkpoint', nothing)
    if ours is not None and CheckpointLoader.__dict__['load_checkpoint'] is ours:
        CheckpointLoader.load_checkpoint = before
    before, ours = applied.get('local', nothing)
    if ours is not None and CheckpointLoader._schemes.get('') is ours:
        CheckpointLoader.register_scheme(prefixes='', loader=before, force=True)
    before, ours = applied.get('pretty_text', nothing)
    if ours is not None and Config.__dict__['pretty_text'] is ours:
        Config.pretty_text = before
    before, ours = applied.get('safe_globals', nothing)
    if ours is not None and toolbox_checkpoint.get_torch_safe_globals is ours:
        toolbox_checkpoint.get_torch_safe_globals = before


def guard_process() -> None:
    """Make every ``torch.load`` in this process read plain data only, whatever its arguments."""
    if not declined():
        # torch gives it precedence over the caller's weights_only=False.
        os.environ[FORCED] = '1'


def guard_imports() -> None:
    """Keep the Python processes that this one starts from importing from the current folder.

    Python puts it first for ``-c``, with which worker processes are started, and for ``-m``.
    """
    # As for Python, empty is unset.
    if not (declined() or os.environ.get('PYTHONSAFEPATH')):
        os.environ['PYTHONSAFEPATH'] = '1'


def replaced(cfg: Any) -> Any:
    """Return the config of a hook or sampler with its type replaced, see ``CHANGES``."""
    if not isinstance(cfg, dict) or 'type' not in cfg or declined():
        return cfg
    kind = cfg['type'] if isinstance(cfg['type'], str) else cfg['type'].__name__
    name = _REPLACED.get(kind.removeprefix('mmengine.'))
    return cfg if name is None else dict(cfg, type=f'mmengine.{name}')


def _checked(load: Callable) -> Callable:
    """Return the loader of local files to use in place of one that is registered."""
    if load is toolbox_checkpoint.load_from_local:
        return load_from_local

    # A loader of another package stays in charge.
    @functools.wraps(load)
    def load_checked(filename: str, *args: Any, **kwargs: Any) -> Any:
        path = Path(filename).expanduser()
        if path.is_file():
            check_undamaged(path)
        return load(filename, *args, **kwargs)

    return load_checked


def _remembering(formatted: property) -> property:
    """Return ``Config.pretty_text`` with a memory of the last configs."""
    texts: dict[Any, str] = {}

    def pretty_text(self: Config) -> str:
        key = getattr(self, '_format_python_code', None), repr(self.to_dict())
        if key not in texts:
            text = formatted.__get__(self)
            # A run has a few versions of its config.
            if len(texts) >= _TEXTS:
                texts.pop(next(iter(texts)))
            texts[key] = text
        return texts[key]

    return property(pretty_text, doc=formatted.__doc__)


def _guarded(load: Callable) -> Callable:
    @functools.wraps(load)
    def load_checkpoint(cls: type, filename: str, *args: Any, **kwargs: Any) -> Any:
        with environment(FORCED, None if is_trusted(filename) else '1'), plain_data():
            try:
                return load(cls, filename, *args, **kwargs)
            except UnpicklingError as error:
                # From an address; load_from_local reports files itself.
                raise UnreadableFileError(filename, REFUSED) from error

    return load_checkpoint
