"""Explain why PyTorch's watchdog over NCCL has aborted a process.

If a collective call fails or exceeds its time limit, a thread of PyTorch writes the reason to the
standard error and aborts the process, so no Python code of it can report the error. This is the
default of ``TORCH_NCCL_ASYNC_ERROR_HANDLING``; with 0 or 2, the process would wait or compute with
incomplete data.

Needs the standard library alone: ``tools/torchrun.py`` loads this file by its path.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator

_TIMEOUT = re.compile(
    r'\[?Rank (\d+)\] Watchdog caught collective operation timeout: '
    r'WorkNCCL\(.*?OpType=_?(\w+).*?Timeout\(ms\)=(\d+)'
)
_FAILURE = re.compile(
    r'Rank (\d+)\] (?:Process group|NCCL) watchdog thread terminated with exception: (.+)'
)
_HANGING = re.compile(r'Rank (\d+)\] .*(?:watchdog hang|Heartbeat monitor timed out)')
_SECONDS_FOR_REST = 2.0
_LONGEST_LINE = 2**16


def explain(line: str) -> tuple[str, int] | None:
    """Return a sentence and an exit status for a line of the watchdog, None for any other."""
    if found := _TIMEOUT.search(line):
        rank, operation, limit = found.groups()
        return (
            f'the collective call {operation} of process {rank} did not finish within '
            f'{int(limit) / 1000:g} s; look for a process that has ended, is slower, or skips the '
            'call, or raise env_cfg.dist_cfg.timeout.'
        ), 124
    if found := _FAILURE.search(line):
        rank, reason = found.groups()
        return (
            f'NCCL, which connects the GPUs, failed in process {rank} ({reason.strip()}); check '
            'the GPUs and the network of every machine, and set NCCL_DEBUG=WARN for details.'
        ), 2
    if found := _HANGING.search(line):
        return (
            f'the watchdog of NCCL in process {found.group(1)} did not respond; check the GPUs '
            'and the network of every machine, and set NCCL_DEBUG=WARN for details.'
        ), 124
    return None


class Output:
    """Passes on the standard error of the processes that this one starts.

    Attributes:
        reason: Sentence and exit status of the first line of a watchdog, or None.
    """

    def __init__(self) -> None:
        self.reason: tuple[str, int] | None = None
        self._original = os.dup(2)
        read, write = os.pipe()
        os.dup2(write, 2)
        os.close(write)
        # What this process prints is written at once, also if it ends without closing this.
        self._stderr, sys.stderr = sys.stderr, os.fdopen(os.dup(self._original), 'w', buffering=1)
        self._thread = threading.Thread(target=self._pass_on, args=(read,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give the standard error back, after what has been written to it."""
        os.dup2(self._original, 2)
        sys.stderr = self._stderr
        # Ends with the last process that has inherited it.
        self._thread.join(_SECONDS_FOR_REST)

    def _pass_on(self, read: int) -> None:
        line = b''
        while data := os.read(read, 2**16):
            rest = memoryview(data)
            # A terminal that is gone does not stop the run.
            with contextlib.suppress(OSError):
                while rest:
                    rest = rest[os.write(self._original, rest) :]
            *lines, line = (line + data).split(b'\n')
            line = line[-_LONGEST_LINE:]
            for text in lines:
                self.reason = self.reason or explain(text.decode(errors='replace'))


@contextlib.contextmanager
def watched_output() -> Iterator[Output]:
    """Watch the standard error in a block."""
    output = Output()
    try:
        yield output
    finally:
        output.close()
