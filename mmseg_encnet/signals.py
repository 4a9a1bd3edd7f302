"""End the tools on signals with one line and a documented status.

Needs the standard library alone, because it works while the rest of the package is imported, which
takes seconds. Trainings handle signals themselves, see :mod:`mmseg_encnet.running.stopping`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

STOPPING = [
    getattr(signal, name)
    for name in ('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1')
    if hasattr(signal, name)
]
# As in tools/torchrun.py: names of the signals that the launcher ignores.
IGNORED = 'MMSEG_ENCNET_IGNORED_SIGNALS'
_PACKAGE = Path(__file__).resolve().parent
# In a checkout, and where mim finds them.
_TOOLS = (_PACKAGE.parent / 'tools', _PACKAGE / '.mim' / 'tools')


class Interrupted(KeyboardInterrupt):
    """A tool was stopped by a signal.

    Attributes:
        name: Name of the signal.
        status: Exit status, 128 plus the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.name = signal.Signals(number).name
        self.status = 128 + number


def end_while_importing() -> None:
    """If this process runs one of the project's tools, let signals end it at once with one line."""
    file = getattr(sys.modules.get('__main__'), '__file__', None)
    if file and any(map(Path(file).resolve().is_relative_to, _TOOLS)):
        _handle(_end)


@contextmanager
def interrupting() -> Iterator[None]:
    """Raise :class:`Interrupted` on the first signal; a second one ends the process at once.

    Forked processes end at once. Signals that are ignored, as with ``nohup``, stay ignored.
    """
    owner = os.getpid()

    def interrupt(number: int, _: FrameType | None) -> None:
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for other in STOPPING:
            if signal.getsignal(other) is interrupt:
                signal.signal(other, _end)
        raise Interrupted(number)

    handled = _handle(interrupt)
    try:
        yield
    finally:
        for number in handled:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)


def ignored() -> list[int]:
    """Return the signals that the process, or its launcher, ignores."""
    names = os.environ.get(IGNORED, '').split()
    return [
        number
        for number in STOPPING
        if signal.getsignal(number) is signal.SIG_IGN or signal.Signals(number).name in names
    ]


def _handle(handler: Callable[[int, FrameType | None], None]) -> list[int]:
    """Handle the signals that nothing else handles, and return them."""
    if threading.current_thread() is not threading.main_thread():
        return []
    unhandled = (signal.SIG_DFL, signal.default_int_handler, _end)
    numbers = [
        number
        for number in STOPPING
        if signal.getsignal(number) in unhandled and number not in ignored()
    ]
    for number in numbers:
        signal.signal(number, handler)
    return numbers


def _end(number: int, _: FrameType | None) -> NoReturn:
    if os.environ.get('RANK', '0') == '0':
        # Not through buffered streams, which the main thread may be using.
        os.write(2, f'stopped by {signal.Signals(number).name}.\n'.encode())
    os._exit(128 + number)
