"""Stop a run on request, at a point on which all of its processes agree.

A signal, ``--max-hours`` or the launcher requests a stop. The processes of a run are in different
places at that moment, and a process that stopped where it is would leave the others waiting for its
part of a collective operation. So every process publishes its position through the store of the
process group, and all of them go on to the furthest one. No iteration waits for this: threads
publish and read, and a process whose position is published waits only before it would pass to the
next one, for a fraction of a second.

A position is a number: ``3 i`` in training iteration i (from 1), ``3 i + 1`` after it, while the
next batch is loaded or the first part of a validation runs, and ``3 i + 2`` while a validation
computes its metrics. 0 is the start of the run; a run that is stopped there ends at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from torch import distributed

from mmseg_encnet.running.explain import ERRORS, report_stop
from mmseg_encnet.signals import STOPPING, ignored

# Exit statuses besides 0, 1 and 2; a signal's is 128 plus its number.
OUT_OF_TIME = 75

# As in tools/torchrun.py.
SECONDS = 'MMSEG_ENCNET_STOP_SECONDS'
REQUEST = 'stop'

# Two signals in such a short time are one request, which reached the process in two ways.
_SECONDS_OF_ONE_REQUEST = 0.3
_POLL = 0.2
# Calls in a row after which the store is taken for lost.
_FAILURES = 5
_STARTED = time.monotonic()
_END = 1 << 60


class Reason(NamedTuple):
    """Why a run stops.

    Attributes:
        name: What stopped it, as in 'stopped by SIGTERM'.
        status: Exit status.
    """

    name: str
    status: int


class Agreement:
    """The positions of the processes of a run, and the one at which they stop."""

    def __init__(self) -> None:
        self.reason: Reason | None = None
        # Functions for clean_up.
        self.at_end: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._position = 0
        self._published = False
        self._last: int | None = None
        self._requested_at = 0.0
        self._deadline: float | None = None
        self._store: Any = None
        self._rank = 0
        self._world = 1
        self._settled = False
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    # Requests, from any thread.

    def request(self, reason: Reason) -> None:
        """Stop the run at the next point on which all processes agree."""
        with self._changed:
            if self.reason is None:
                self.reason = reason
                self._requested_at = time.monotonic()
                if self._store is None:
                    self._published, self._last = True, self._position
                self._changed.notify_all()
        if self._last == 0:
            self.end(reason, 'before its first iteration')

    def signalled(self, number: int) -> None:
        """Handle a signal: the first one requests a stop, a second one ends the process at once."""
        reason = Reason(signal.Signals(number).name, 128 + number)
        if self._settled:
            return
        if self.reason is None:
            self.request(reason)
        elif time.monotonic() - self._requested_at > _SECONDS_OF_ONE_REQUEST:
            self.end(reason, 'at once', whole=False)

    def stop_after(self, seconds: float) -> None:
        """Stop the run when the program has run for a time, as for ``--max-hours``."""
        deadline = _STARTED + seconds
        self._deadline = min(deadline, self._deadline or deadline)
        self._watch()

    # The main thread.

    def advance(self, position: int) -> bool:
        """Go on to a position.

        Returns:
            False if the run stops before it.
        """
        with self._changed:
            while self._published and self._last is None:
                self._changed.wait()
            if self._last is not None and position > self._last:
                return False
            self._position = position
            return True

    @property
    def started(self) -> bool:
        """Whether this process has begun an iteration."""
        return self._position > 0

    @property
    def stops_here(self) -> bool:
        """Whether the run stops at the position of this process, which has begun an iteration."""
        with self._changed:
            return self._last is not None and self._position >= self._last > 0

    def finish(self) -> None:
        """Tell the other processes that this one has completed its training."""
        with self._changed:
            self._position = _END
        if self._store is not None:
            with contextlib.suppress(RuntimeError):
                self._store.set(f'position/{self._rank}', str(_END))
        self.close()

    def settle(self) -> None:
        """Ignore further signals: everything is written, and the exit status is that of the first.

        A launcher can send SIGTERM to the other processes as soon as one has ended.
        """
        self._settled = True
        self.close()

    def wait_for_others(self, seconds: float | None = None) -> None:
        """Wait until all processes have stopped, so that no launcher ends one that still writes.

        Args:
            seconds: Longest time. Default: that of :func:`seconds_to_stop`.
        """
        if self._store is None:
            return
        deadline = time.monotonic() + (seconds_to_stop() if seconds is None else seconds)
        with contextlib.suppress(RuntimeError):
            self._store.set(f'left/{self._rank}', '1')
            keys = [f'left/{rank}' for rank in range(self._world)]
            while time.monotonic() < deadline and not self._store.check(keys):
                time.sleep(_POLL / 4)

    def join(self, store: Any, rank: int, world: int) -> None:
        """Connect the processes of a run.

        Args:
            store: Store of the process group, for the use of this object alone.
            rank: Rank of this process.
            world: Number of processes.
        """
        with self._changed:
            if self._store is not None or self._last is not None or world == 1:
                return
            self._store, self._rank, self._world = store, rank, world
        self._watch()

    def clean_up(self) -> None:
        """Do what has to be done before the process ends without unwinding its stack."""
        for function in self.at_end:
            with contextlib.suppress(Exception):
                function()

    def close(self) -> None:
        """Stop the threads of this object."""
        self._closed.set()

    def end(self, reason: Reason, how: str, whole: bool = True) -> NoReturn:
        """End the process now, with one line and the status of the reason.

        Args:
            reason: Why.
            how: What was done, for the line.
            whole: Whether the other processes of the run end by themselves.
        """
        self._closed.set()
        self.clean_up()
        _leave(f'stopped by {reason.name} {how}.', reason.status, whole)

    # The threads.

    def _watch(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name='stopping', daemon=True)
            self._thread.start()

    def _run(self) -> None:
        failures = 0
        while not self._closed.wait(_POLL / 4 if self.reason else _POLL):
            if self._deadline is not None and time.monotonic() > self._deadline:
                self._deadline = None
                self.request(Reason('--max-hours', OUT_OF_TIME))
            if self._store is not None:
                try:
                    self._agree()
                    failures = 0
                except RuntimeError:
                    # One failure can be a disturbed call.
                    failures += 1
                    if failures == _FAILURES or self._position == 0:
                        self._leave_store()

    def _leave_store(self) -> None:
        """Go on without the other processes: the one that holds the store has ended."""
        with self._changed:
            self._store = None
            if self._published and self._last is None:
                self._last = self._position
            self._changed.notify_all()
        # In an iteration, the main thread will notice.
        if self.reason is not None and self._position == 0:
            self.end(self.reason, 'before its first iteration')

    def _agree(self) -> None:
        if self.reason is not None and not self._published:
            # The first request counts, so that all processes have the same status.
            said = self._store.compare_set('reason', '', json.dumps(self.reason))
            with self._changed:
                self.reason = Reason(*json.loads(said))
        elif self.reason is None and self._store.check(['reason']):
            self.request(Reason(*json.loads(self._store.get('reason'))))
        if self.reason is None:
            return
        if not self._published:
            with self._changed:
                self._published = True
                position = self._position
            try:
                self._store.set(f'position/{self._rank}', str(position))
            except RuntimeError:
                with self._changed:
                    self._published = False
                    self._changed.notify_all()
                raise
        if self._last is None:
            keys = [f'position/{rank}' for rank in range(self._world)]
            if self._store.check(keys):
                last = max(int(self._store.get(key)) for key in keys)
                with self._changed:
                    self._last = last
                    self._changed.notify_all()
                if last == 0:
                    self.wait_for_others(10)
                    self.end(self.reason, 'before its first iteration')


_purposes: Counter[str] = Counter()


def own_store(purpose: str) -> Any:
    """Return a connection of its own to the store of the process group.

    Args:
        purpose: What it is for. Each call for a purpose begins with an empty store.
    """
    store = distributed.distributed_c10d._get_default_store()
    with contextlib.suppress(AttributeError, NotImplementedError, RuntimeError):
        # A call of the main thread can block the connection of the group.
        store = store.clone()
    _purposes[purpose] += 1
    return distributed.PrefixStore(f'mmseg_encnet/{purpose}/{_purposes[purpose]}', store)


_current: Agreement | None = None


def current() -> Agreement:
    """Return the agreement of the run in this process."""
    global _current
    if _current is None:
        _current = Agreement()
    return _current


def forget() -> None:
    """End the agreement of a run that has ended."""
    global _current
    if _current is not None:
        _current.close()
    _current = None


def seconds_to_stop() -> float:
    """Return the time in which a run stops after a request."""
    try:
        return float(os.environ.get(SECONDS, ''))
    except ValueError:
        return 30.0


@contextlib.contextmanager
def stopping_on_signals() -> Iterator[Agreement]:
    """Stop the run in this process on signals, and on the request of ``tools/torchrun.py``.

    Signals that the process ignores, as with ``nohup``, stay ignored. A thread receives the
    signals, because the main thread can be in a call that Python cannot interrupt. Outside the main
    thread, nothing changes.
    """
    forget()
    agreement = current()
    if threading.current_thread() is not threading.main_thread():
        yield agreement
        forget()
        return
    unwanted = ignored()
    numbers = [number for number in STOPPING if number not in unwanted]
    # Unlike the ends of a pipe, sockets can be selected on Windows, too.
    read, writer = socket.socketpair()
    read.setblocking(False)
    writer.setblocking(False)
    # Detached, because it must stay open until the process ends if the run is stopped.
    write = writer.detach()
    # The byte is written by C code, whatever the main thread does.
    former_fd = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    former = {number: signal.signal(number, lambda *_: None) for number in numbers}
    former |= {number: signal.signal(number, signal.SIG_IGN) for number in unwanted}
    owner = os.getpid()

    def leave_signals_alone() -> None:
        # In a forked process, which shares the sockets.
        if os.getppid() == owner:
            signal.set_wakeup_fd(-1)
            for number in STOPPING:
                # A signal to the whole process group is for the main process, which needs its data
                # loading workers until the end of the iteration.
                ends = number == signal.SIGTERM
                signal.signal(number, signal.SIG_DFL if ends else signal.SIG_IGN)

    _in_children[:] = [leave_signals_alone]
    done = threading.Event()
    thread = threading.Thread(
        target=_receive, args=(agreement, read, numbers, done), name='signals', daemon=True
    )
    thread.start()

    def restore() -> None:
        done.set()
        _in_children.clear()
        for number, handler in former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(former_fd)
        thread.join()
        read.close()
        socket.close(write)
        forget()

    try:
        yield agreement
    finally:
        # A process that has stopped is about to end, and a second signal ends it at once.
        if agreement.reason is None:
            restore()


# What a forked process does first, see stopping_on_signals.
_in_children: list[Callable[[], None]] = []
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=lambda: [function() for function in _in_children])


def _receive(
    agreement: Agreement, read: socket.socket, numbers: list[int], done: threading.Event
) -> None:
    folder = os.environ.get(ERRORS)
    request = Path(folder, REQUEST) if folder else None
    seconds = seconds_to_stop()
    while not done.is_set():
        readable, _, _ = select.select([read], [], [], _POLL)
        for number in read.recv(64) if readable else b'':
            if number in numbers:
                agreement.signalled(number)
        if request is not None and agreement.reason is None:
            with contextlib.suppress(OSError, ValueError):
                agreement.request(Reason(*json.loads(request.read_text())))
        reason = None if agreement._settled else agreement.reason
        if reason and time.monotonic() - agreement._requested_at > seconds:
            agreement.end(
                reason,
                f'without a new checkpoint, because the iteration did not end within {seconds:g} s',
            )


def _leave(line: str, status: int, whole: bool) -> NoReturn:
    """Print a line and end this process, from any thread; see :meth:`Agreement.end`."""
    if whole:
        status = report_stop(line, status)
    else:
        print(line, file=sys.stderr)
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
