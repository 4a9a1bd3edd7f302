"""Mistakes of the person at the keyboard, told in one sentence."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user gave cannot work; the message is the whole explanation.

    The message is one sentence: the value that came, what was expected, what to do. The tools
    print it without a traceback and exit with status 2.
    """
