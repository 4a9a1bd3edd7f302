"""A process to kill, forked from the test so that it need not import the toolbox again."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from typing import Any

from tqdm import tqdm


def start(function: Callable[..., Any], *args: Any) -> multiprocessing.Process:
    """Call a function in a new process."""
    process = multiprocessing.get_context('fork').Process(
        target=_with_own_lock, args=(function, *args)
    )
    process.start()
    return process


def _with_own_lock(function: Callable[..., Any], *args: Any) -> None:
    # A fork shares the lock of the progress bars, which is never released if its holder is killed.
    tqdm.set_lock(threading.RLock())
    function(*args)
