"""Convert images and labels of a user, in any common format, into the layout of this project.

``formats`` has a module for each format of labels. They share ``pairing``, which matches images and
label images by name, ``survey``, which finds out what label images contain, ``classes`` for tables
of classes, ``splits`` for train, val and test, and ``problems``, which collects what is wrong with
files. ``conversion`` puts them together, ``command`` is the command line.
"""

import importlib
from typing import Any

# Imported on first use: the tools parse their arguments first.
_MODULES = {
    'Converted': 'conversion',
    'Reading': 'options',
    'Splitting': 'options',
    'UnusableData': 'problems',
    'convert_own': 'conversion',
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'{__name__}.{_MODULES[name]}'), name)
