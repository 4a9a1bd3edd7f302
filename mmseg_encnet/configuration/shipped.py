"""Find the shipped configs, wherever the package is installed."""

from __future__ import annotations

import difflib
from pathlib import Path

from mmseg_encnet.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]


def config_dir() -> Path:
    """Return the folder of the shipped configs: inside a wheel's package, beside it in a clone."""
    packaged = _PACKAGE / '.mim' / 'configs'
    return packaged if packaged.is_dir() else _PACKAGE.parent / 'configs'


def config_file(name: str) -> str:
    """Return the path of a shipped config, for use as the base of another.

    In a config file outside the clone::

        _base_ = __import__('mmseg_encnet').config_file('encnet_r50_pcontext')

    Args:
        name: File name, with or without ``.py``.

    Raises:
        UserError: No config of this name is shipped.
    """
    path = config_dir() / f'{name.removesuffix(".py")}.py'
    if not path.is_file():
        names = sorted(p.stem for p in config_dir().glob('*.py'))
        close = difflib.get_close_matches(path.stem, names, n=3)
        hint = (
            f'did you mean {" or ".join(close)}?' if close else f'choose one of {", ".join(names)}.'
        )
        raise UserError(f'unknown config {name!r}; {hint}')
    return str(path)
