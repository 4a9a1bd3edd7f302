"""Errors that a user can fix, reported in one sentence.

Everything that is printed, logged or shown with a name from a file goes through :func:`printable`:
a name may contain control sequences of the terminal, or a line break and what looks like another
message.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_CONTROL = frozenset(('Cc', 'Cf', 'Cs', 'Zl', 'Zp'))
_OF_WORKER = 'Caught UserError '
# Bytes of a file name that the environment cannot decode.
_UNDECODED = re.compile('([\udc80-\udcff]+)')


class UserError(ValueError):
    """A value or file provided by the user cannot be used.

    The message is one complete sentence: the value, what was expected and what to do. The tools
    print it without a traceback and exit with status 2.
    """

    def __str__(self) -> str:
        text = super().__str__()
        # PyTorch raises the error of a worker again, with its traceback as the message.
        return text if text.startswith(_OF_WORKER) else printable(text)


def printable(text: object, keep: str = '') -> str:
    """Return a text with its control characters as escape sequences, such as ``\\n``.

    So are characters that change the direction of text, and bytes of a file name that are no text.

    Args:
        text: The text, or an object such as a path.
        keep: Characters to leave as they are.
    """
    text = str(text)
    if text.isprintable():
        return text
    return ''.join(
        part if _is_undecoded_text(part) else ''.join(_shown(character, keep) for character in part)
        for part in _UNDECODED.split(text)
    )


def _shown(character: str, keep: str) -> str:
    if character in keep or unicodedata.category(character) not in _CONTROL:
        return character
    return character.encode('unicode_escape').decode('ascii')


def _is_undecoded_text(part: str) -> bool:
    """Return whether a part of a name is UTF-8 in an environment without it, such as LANG=C."""
    if sys.getfilesystemencoding() == 'utf-8' or not _UNDECODED.fullmatch(part):
        return False
    try:
        return part.encode('utf-8', 'surrogateescape').decode('utf-8').isprintable()
    except UnicodeDecodeError:
        return False


_LONGEST = 160


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if the message is empty.

    A line of more than 160 characters is cut.
    """
    return cut((str(error).strip() or type(error).__name__).splitlines()[0].rstrip('.'))


def cut(line: str) -> str:
    """Return at most 160 characters of a line."""
    return line if len(line) <= _LONGEST else f'{line[: _LONGEST - 3]}...'


def listed(names: Sequence[object], most: int) -> str:
    """Return names for a message, up to a number, with the count of those left out."""
    more = f' and {len(names) - most:,} more' * (len(names) > most)
    return ', '.join(map(str, names[:most])) + more


def type_and_first_line(error: BaseException) -> str:
    """Return an exception's type and the first line of its message."""
    kind = type(error).__name__
    return f'{kind}: {first_line(error)}' if str(error).strip() else kind


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Put a subject, such as a file, in front of the message of a :class:`UserError`."""
    try:
        yield
    except UserError as error:
        raise UserError(f'{subject} {error}') from error
