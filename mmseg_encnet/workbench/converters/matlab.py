"""Reading MATLAB files."""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mmseg_encnet.errors import UserError, type_and_first_line
from mmseg_encnet.extras import require
from mmseg_encnet.workbench.converters.archives import START_OVER
from mmseg_encnet.workbench.converters.labels import begin_worker, explained


def read_mat(path: Path) -> dict[str, Any]:
    """Return the variables of a MATLAB file by name.

    Raises:
        UserError: The file is missing or damaged, or scipy is not installed.
    """
    require('scipy.io', 'data')
    with explained(path):
        content = path.read_bytes()
    reader = _reader(os.getpid())
    try:
        reader.send_bytes(content)
        variables = reader.recv()
    except (EOFError, OSError):
        _reader.cache_clear()
        variables = 'reading it ended the process'
    if isinstance(variables, str):
        raise UserError(f'{path} is damaged ({variables}); delete it, {START_OVER}')
    return variables


@contextmanager
def variables_of(
    path: Path, kind: str, advice: str = f'delete it, {START_OVER}'
) -> Iterator[dict[str, Any]]:
    """Give the variables of a MATLAB file, and explain errors in using them.

    Args:
        path: The file.
        kind: What it should be, as in ``'a label file of SBD'``.
        advice: What to do about another one.

    Raises:
        UserError: As of :func:`read_mat`, or the file is of another kind.
    """
    content = read_mat(path)
    try:
        yield content
    except UserError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f'{path} is not {kind} ({type(error).__name__}: {error}); {advice}'
        ) from error


@cache
def _reader(parent: int) -> Connection:
    """Return a connection to the process in which the process ``parent`` reads.

    A process of its own, because some damaged files make scipy crash.
    """
    # A forked process need not import the toolbox again, which takes seconds.
    context = multiprocessing.get_context('fork' if sys.platform == 'linux' else 'spawn')
    ours, theirs = context.Pipe()
    context.Process(target=_read, args=(theirs,), daemon=True).start()
    theirs.close()
    return ours


def _read(connection: Connection) -> None:
    """Answer the content of each file with its variables, or with what is wrong with it."""
    from scipy.io import loadmat

    begin_worker()
    while True:
        content = io.BytesIO(connection.recv_bytes())
        try:
            answer = loadmat(content)
        # scipy reports damage with many types of exceptions.
        except Exception as error:
            answer = type_and_first_line(error)
        connection.send(answer)
