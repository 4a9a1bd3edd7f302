"""Data loading processes: they end with their training and record what they read."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import threading
import weakref
from collections.abc import Callable
from typing import Any

from mmseg_encnet.datasets import current_file
from mmseg_encnet.datasets.current_file import Reading, Record
from mmseg_encnet.running.parent import end_with_parent

_initialisers: weakref.WeakSet[LoadingProcess] = weakref.WeakSet()


def readings() -> list[tuple[str, Reading]]:
    """Return what this process and its data loading processes are reading, each with its name."""
    records = [('the process', current_file.own_record())]
    for initialiser in list(_initialisers):
        records += initialiser.records()
    found = [(name, record.read()) for name, record in records]
    return [(name, reading) for name, reading in found if reading is not None]


class LoadingProcess:
    """Initialises the processes of a data loader.

    They end as soon as the process that they load for has ended, and ignore the signals on which it
    finishes its iteration: Ctrl-C, Slurm and ``timeout`` send them to all processes.

    Args:
        processes: Number of processes.
        then: A data loader's ``worker_init_fn``, or None.
    """

    def __init__(self, processes: int, then: Callable[[int], None] | None = None) -> None:
        self._then = then
        self._parent = os.getpid()
        self._memory: mmap.mmap | None = None
        if processes:
            self._memory = mmap.mmap(-1, processes * current_file.SIZE)
            _initialisers.add(self)

    def __getstate__(self) -> dict[str, Any]:
        # Only forked processes share the memory.
        return {**self.__dict__, '_memory': None}

    def records(self) -> list[tuple[str, Record]]:
        """Return the records of the processes, with their names."""
        if self._memory is None:
            return []
        return [
            (f'data loading process {number}', Record(self._memory, number))
            for number in range(len(self._memory) // current_file.SIZE)
        ]

    def __call__(self, worker: int) -> None:
        end_with_parent(self._parent)
        for name in ('SIGINT', 'SIGHUP', 'SIGUSR1'):
            with contextlib.suppress(AttributeError, ValueError):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        if hasattr(signal, 'sigwaitinfo'):
            # Before any other thread starts and inherits the mask.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            threading.Thread(target=self._end_on_request, name='end', daemon=True).start()
        if self._memory is not None:
            current_file.record_in(Record(self._memory, worker))
        if self._then is not None:
            self._then(worker)

    def _end_on_request(self) -> None:
        # A data loader ends its processes with SIGTERM.
        while signal.sigwaitinfo([signal.SIGTERM]).si_pid != self._parent:
            pass
        os._exit(0)
