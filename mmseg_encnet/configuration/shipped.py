"""Where the shipped configs lie, wherever the package is installed."""

from __future__ import annotations

import difflib
from pathlib import Path

from mmseg_encnet.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]


def config_dir() -> Path:
    """Folder of the shipped configs: in the package of a wheel, beside it in a clone."""
    packaged = _PACKAGE / '.mim' / 'configs'
    return packaged if packaged.is_dir() else _PACKAGE.parent / 'configs'


def config_file(name: str) -> str:
    """Path of a shipped config, for use as a base of one's own.

    In a config file outside the clone::

        _base_ = __import__('mmseg_encnet').config_file('encnet_r50_pcontext')

    Args:
        name: File name, with or without ``.py``.

    Raises:
        UserError: If there is no such config.
    """
    path = config_dir() / f'{name.removesuffix(".py")}.py'
    if not path.is_file():
        names = sorted(p.stem for p in config_dir().glob('*.py'))
        close = difflib.get_close_matches(path.stem, names, n=3)
        hint = f'did you mean {" or ".join(close)}?' if close else f'there are: {", ".join(names)}.'
        raise UserError(f'no config named {name!r} is shipped; {hint}')
    return str(path)
