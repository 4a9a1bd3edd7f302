"""Check values that come from files, before anything is computed with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmseg_encnet.errors import UserError

# The largest range in which every integer is a float.
LARGEST = 2**53
# Pillow's own limit of an image, up to which it does not warn either.
MAX_PIXELS = 2**30 // 12
_LONGEST = 40


def brief(value: Any) -> str:
    """Return a value for a message: one short line, whatever it is."""
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return f'a {type(value).__name__} of {len(value)}'
    if isinstance(value, int) and value.bit_length() > 100:
        return f'an integer of {value.bit_length()} bits'
    if not isinstance(value, (str, bytes, int, float, complex, type(None))):
        return f'a {type(value).__name__}'
    shown = ascii(value)
    return shown if len(shown) <= _LONGEST else f'{shown[: _LONGEST - 4]}...{shown[-1]}'


def integer(value: Any, name: str, low: int = 0, high: int = LARGEST) -> int:
    """Return an integer between two bounds, both included.

    Raises:
        UserError: The value is anything else; the message starts with a verb.
    """
    if type(value) is not int or not low <= value <= high:
        raise UserError(
            f'has {brief(value)} as {name}, expected an integer from '
            f'{"-2**53" if low == -LARGEST else low} to {"2**53" if high == LARGEST else high}'
        )
    return value


def number(value: Any, name: str) -> float:
    """Return a number as float; NaN and infinities are numbers.

    Raises:
        UserError: The value is anything else; the message starts with a verb.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_float(value):
        raise UserError(f'has {brief(value)} as {name}, expected a number')
    return float(value)


def text(value: Any, name: str) -> str:
    """Return a string.

    Raises:
        UserError: The value is anything else; the message starts with a verb.
    """
    if not isinstance(value, str):
        raise UserError(f'has {brief(value)} as {name}, expected a string')
    return value


def sequence(value: Any, name: str, length: int | None = None) -> Sequence[Any]:
    """Return a list or tuple, of a length if one is given.

    Raises:
        UserError: The value is anything else; the message starts with a verb.
    """
    if not isinstance(value, (list, tuple)) or length not in (None, len(value)):
        size = '' if length is None else f' of {length}'
        raise UserError(f'has {brief(value)} as {name}, expected a list{size}')
    return value


def mapping(value: Any, name: str) -> Mapping[Any, Any]:
    """Return a dictionary.

    Raises:
        UserError: The value is anything else; the message starts with a verb.
    """
    if not isinstance(value, Mapping):
        raise UserError(f'has {brief(value)} as {name}, expected a dictionary')
    return value


def _is_float(value: int | float) -> bool:
    try:
        float(value)
    except OverflowError:
        return False
    return True
