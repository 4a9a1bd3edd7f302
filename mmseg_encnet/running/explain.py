"""Turning the toolbox's exceptions into the one sentence a person needs.

The tools run their ``main`` under :func:`exit_with_one_sentence`. What it recognises as a mistake
of the person is printed without a traceback, with exit status 2; anything else is a defect of the
program and keeps its traceback.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from mmseg_encnet import toolbox_changes
from mmseg_encnet.errors import UserError

_UNEXPECTED_ARGUMENT = re.compile(
    r"([\w.]+?)(?:\.__init__|(?<=save_checkpoint))\(\) got an unexpected keyword argument '(\w+)'"
)
_MISSING_ARGUMENT = re.compile(
    r'(\w+)\.__init__\(\) missing \d+ required (?:positional|keyword-only) arguments?: (.+)'
)
_UNREGISTERED = re.compile(r'(\S+) is not in the (\S+) registry')
_WORKER_SENTENCE = re.compile(r'errors\.UserError: (.+)\Z', re.DOTALL)


def exit_with_one_sentence(main: Callable[..., int | None]) -> Callable[..., None]:
    """Decorate a tool's ``main``: mistakes of the person become a sentence and status 2."""

    @functools.wraps(main)
    def run(*args, **kwargs) -> None:
        toolbox_changes.guard_process()
        try:
            status = main(*args, **kwargs)
        except Exception as error:
            sentence = explain(error)
            if sentence is None:
                raise
            if not _told(sentence):
                print(f'error: {sentence}', file=sys.stderr)
            status = 2
        sys.exit(status)

    return run


def _told(sentence: str) -> bool:
    """Whether another process that torchrun started on this machine has told the same already."""
    error_file = os.environ.get('TORCHELASTIC_ERROR_FILE')
    if not error_file:
        return False
    # One folder a process, in one of this attempt.
    folder = Path(error_file).parents[1]
    try:
        (folder / hashlib.sha256(sentence.encode()).hexdigest()).touch(exist_ok=False)
    except FileExistsError:
        return True
    except OSError:
        pass
    return False


def explain(error: BaseException) -> str | None:
    """The sentence for an exception, or None if it is not a mistake of the person."""
    message = str(error.args[0]) if error.args else str(error)
    if isinstance(error, UserError):
        # Raised in a data loading worker, the sentence comes at the end of the worker's traceback.
        in_worker = _WORKER_SENTENCE.search(message)
        return (in_worker.group(1) if in_worker else message).strip()
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f'{error.filename or "a file"} cannot be written: {error.strerror}; free space on '
            'its disk.'
        )
    if isinstance(error, TypeError):
        match = _UNEXPECTED_ARGUMENT.search(message)
        if match:
            owner, argument = match.groups()
            return (
                f'{argument!r} is not an argument that {owner} knows; correct the key in the '
                'config or in --cfg-options.'
            )
        match = _MISSING_ARGUMENT.search(message)
        if match:
            owner, arguments = match.groups()
            return f'{owner} lacks {arguments}; add it in the config or with --cfg-options.'
    if isinstance(error, KeyError):
        # The check before building leaves names with a scope to the toolbox that they name.
        match = _UNREGISTERED.search(message)
        if match:
            return (
                f'type={match.group(1)!r} in the config names nothing in the registry '
                f'{match.group(2)}; correct it.'
            )
    return None
