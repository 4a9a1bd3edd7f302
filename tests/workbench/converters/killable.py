"""A process to be killed, forked from the test: no second import of the toolbox."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from typing import Any

from tqdm import tqdm


def start(function: Callable[..., Any], *args: Any) -> multiprocessing.Process:
    """Call a function in a process of its own."""
    process = multiprocessing.get_context('fork').Process(
        target=_with_own_lock, args=(function, *args)
    )
    process.start()
    return process


def _with_own_lock(function: Callable[..., Any], *args: Any) -> None:
    # A fork shares the lock of the progress bars, which stays closed if its holder is killed.
    tqdm.set_lock(threading.RLock())
    function(*args)
