"""End a process when the process that started it ends.

Needs the standard library alone: ``tools/torchrun.py`` loads this file by its path, because
importing the package takes seconds, during which the launcher can be killed, too.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_SECONDS_BETWEEN_LOOKS = 1.0


def end_with_parent(parent: int) -> None:
    """Kill this process as soon as its parent has ended.

    On Linux the kernel does it. Elsewhere, a thread looks for the parent every second.

    Args:
        parent: Process id of the parent. If that process has ended already, this one ends now.
    """
    if not _set_death_signal():
        threading.Thread(target=_watch, args=(parent,), name='parent', daemon=True).start()
    if os.getppid() != parent:
        _end()


def _set_death_signal() -> bool:
    if not sys.platform.startswith('linux'):
        return False
    try:
        prctl = ctypes.CDLL(None).prctl
    except (AttributeError, OSError):
        return False
    return prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) == 0


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    _end()


def _end() -> None:
    # As the kernel does: without exit functions, which could wait for other processes.
    os.kill(os.getpid(), getattr(signal, 'SIGKILL', signal.SIGTERM))
