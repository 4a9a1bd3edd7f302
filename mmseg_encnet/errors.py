"""Errors that a user can fix, reported in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A value or file provided by the user cannot be used.

    The message is one complete sentence: the value, what was expected and what to do. The tools
    print it without a traceback and exit with status 2.
    """


_LONGEST = 160


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if the message is empty.

    A line of more than 160 characters is cut.
    """
    return cut((str(error).strip() or type(error).__name__).splitlines()[0].rstrip('.'))


def cut(line: str) -> str:
    """Return at most 160 characters of a line."""
    return line if len(line) <= _LONGEST else f'{line[: _LONGEST - 3]}...'


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
