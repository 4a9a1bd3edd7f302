"""The frame of the programs in ``tools/``: arguments first, then everything that takes seconds.

PyTorch and the toolbox take seconds to import, and neither ``--help`` nor a misspelt option needs
them. A tool therefore imports only what its arguments need, and the rest inside its ``main``::

    __mmseg_encnet_tool__ = True

    from mmseg_encnet.program import program

    def parse_args() -> argparse.Namespace: ...

    @program(parse_args)
    def main(args: argparse.Namespace) -> None:
        from mmseg_encnet.running.processes import run_training

The first line, before the import, lets ``mmseg_encnet`` leave out the registration of its parts,
which :func:`program` makes up for between the two functions.
"""

from __future__ import annotations

import argparse
import atexit
import codecs
import functools
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from mmseg_encnet.registration import register
from mmseg_encnet.signals import Interrupted, interrupting
from mmseg_encnet.toolbox import require_toolbox

_ESCAPE = 'mmseg_encnet.escape'
Main = Callable[[argparse.Namespace], int | None]


def program(parse_args: Callable[[], argparse.Namespace]) -> Callable[[Main], Callable[[], None]]:
    """Decorate the ``main`` of a tool, which takes the parsed arguments.

    Errors that the user can fix are reported in one sentence, with exit status 2.

    Args:
        parse_args: Function that parses the command line, and imports neither PyTorch nor the
            toolbox.
    """

    def decorated(main: Main) -> Callable[[], None]:
        @functools.wraps(main)
        def run() -> None:
            _print_everything()
            args = _parsed(parse_args)
            _prepare()
            _exit_after(lambda: main(args))

        return run

    return decorated


def exit_with_one_sentence(main: Callable[..., int | None]) -> Callable[..., None]:
    """Decorate a function that runs a whole process, to report errors as :func:`program` does."""

    @functools.wraps(main)
    def run(*args: Any, **kwargs: Any) -> None:
        _print_everything()
        _prepare()
        _exit_after(lambda: main(*args, **kwargs))

    return run


def _parsed(parse_args: Callable[[], argparse.Namespace]) -> argparse.Namespace:
    try:
        return parse_args()
    except Exception as error:
        sys.exit(_reported(error))


def _prepare() -> None:
    """Import the toolbox, register the parts of this package, and guard this process."""
    try:
        require_toolbox()
    except ImportError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    register()
    from mmseg_encnet import toolbox_changes

    toolbox_changes.guard_process()
    toolbox_changes.guard_imports()


def _exit_after(main: Callable[[], int | None]) -> NoReturn:
    from mmseg_encnet.running.explain import Stopped, report_stop

    try:
        with interrupting():
            status = main()
    except KeyboardInterrupt as interrupt:
        if not isinstance(interrupt, Interrupted):
            interrupt = Interrupted(signal.SIGINT)
        print(f'stopped by {interrupt.name}.', file=sys.stderr)
        _leave_at_once(interrupt.status)
    except Stopped as stopped:
        _leave_at_once(report_stop(stopped.line, stopped.status))
    except Exception as error:
        status = _reported(error)
    _leave(status)


def _reported(error: Exception) -> int:
    """Report an error that the user can fix, and return the exit status; raise any other."""
    from mmseg_encnet.running.explain import explain, report

    sentence = explain(error)
    if sentence is None:
        raise error
    report(sentence)
    return 2


def _print_everything() -> None:
    """Escape the characters that the terminal's encoding lacks, instead of failing on them."""
    codecs.register_error(_ESCAPE, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            utf8 = sys.getfilesystemencoding() == 'utf-8'
            stream.reconfigure(errors='backslashreplace' if utf8 else _ESCAPE)


def _escaped(error: UnicodeError) -> tuple[bytes, int]:
    """Encode undecoded bytes of file names as they are, and escape other characters."""
    assert isinstance(error, UnicodeEncodeError)
    characters = error.object[error.start : error.end]
    return b''.join(
        bytes([ord(character) - 0xDC00])
        if '\udc80' <= character <= '\udcff'
        else character.encode('ascii', 'backslashreplace')
        for character in characters
    ), error.end


def _leave(status: int | None) -> NoReturn:
    """Exit. A process of torchrun runs its exit functions, but not the interpreter's teardown.

    A thread of gloo that is still alive in the teardown can abort a process that has succeeded.
    """
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        _leave_at_once(status)
    sys.exit(status)


def _leave_at_once(status: int | None) -> NoReturn:
    """Exit without the interpreter's teardown, in which data loaders wait for their processes."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)
