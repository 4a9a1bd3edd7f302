"""Which file each process of a data loader is reading, for reports about reads that never end."""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

# Bytes of one process.
SIZE = 4096
_HEADER = struct.Struct('dI')


class Reading(NamedTuple):
    """A sample that a process is preparing.

    Attributes:
        path: Its image file.
        since: The time of ``time.monotonic()`` when it began.
    """

    path: str
    since: float


class Record:
    """What one process is reading, in memory that several processes share.

    Args:
        memory: The memory; by default that of this process alone.
        slot: Number of the process in it.
    """

    def __init__(self, memory: mmap.mmap | None = None, slot: int = 0) -> None:
        self._memory = mmap.mmap(-1, SIZE) if memory is None else memory
        self._start = slot * SIZE

    def write(self, path: str) -> None:
        """Record that the process begins to read a file; an empty path that it has ended."""
        name = os.fsencode(path)[: SIZE - _HEADER.size]
        start = self._start + _HEADER.size
        self._memory[start : start + len(name)] = name
        _HEADER.pack_into(self._memory, self._start, time.monotonic(), len(name))

    def read(self) -> Reading | None:
        """Return what the process is reading, or None."""
        since, length = _HEADER.unpack_from(self._memory, self._start)
        start = self._start + _HEADER.size
        return Reading(os.fsdecode(self._memory[start : start + length]), since) if length else None


_own = Record()


def own_record() -> Record:
    """Return the record of this process."""
    return _own


def record_in(record: Record) -> None:
    """Let this process write to a record."""
    global _own
    _own = record


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Record that this process reads a file."""
    _own.write(path)
    try:
        yield
    finally:
        _own.write('')
