"""End a run that makes no progress, with the process and the place that it waits for.

Every step of a training, validation or test is a beat. A thread of each process compares the time
since the last beat with a limit, and exchanges the number of beats with the other processes: those
that wait in a collective operation are ahead of the one that they wait for, and a process that is
stopped does not answer at all. Steps that take long without being a stall have six times the limit:
the start, the first iteration, in which a model may be compiled, metrics and checkpoints.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from mmseg_encnet.errors import UserError
from mmseg_encnet.running.data_workers import readings
from mmseg_encnet.running.explain import report

SECONDS = 'MMSEG_ENCNET_STALL_SECONDS'
STALLED = 124
# For steps that can take long.
PATIENCE = 6
_SAVING = 'save_checkpoint'


def default_seconds() -> float:
    """Return the limit of the environment, or five minutes.

    Raises:
        UserError: It is not a number.
    """
    value = os.environ.get(SECONDS, '300')
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float('inf'):
        raise UserError(f'{SECONDS} must be a number of seconds, or 0 for no limit, got {value!r}.')
    return seconds


class Status(NamedTuple):
    """What a process tells the others.

    Attributes:
        beats: Number of its steps.
        waiting: Whether its current step exceeds its limit.
        where: Iteration and place, for messages.
    """

    beats: int
    waiting: bool
    where: str


class Watchdog:
    """Watches the progress of a run in one process.

    Args:
        seconds: Limit for a step.
        folder: Folder for the stacks.
        rank: Rank of this process.
        world: Number of processes.
        store: Store of the process group for the use of this object alone, None for one process.
        what: ``'training'`` or ``'test'``, for messages.
        at_end: Called before the process ends.
    """

    def __init__(
        self,
        seconds: float,
        folder: Path,
        rank: int,
        world: int,
        store: Any,
        what: str,
        at_end: Callable[[], None],
    ) -> None:
        self._seconds = seconds
        self._interval = min(max(seconds / 20, 0.1), 5.0)
        self._stacks = folder / f'stacks_of_rank_{rank}.txt'
        self._rank = rank
        self._world = world
        self._store = store
        self._what = what
        self._at_end = at_end
        self._main = threading.get_ident()
        self._step = (0, 'at the start', time.monotonic(), PATIENCE)
        self._closed = threading.Event()
        # The status of each other rank and when it arrived. The time counts from the start, so that
        # a rank that is stopped before its first status is blamed, too.
        now = time.monotonic()
        unknown = Status(0, False, 'at the start')
        self._others = {other: (unknown, now) for other in range(world) if other != rank}
        self._counts: dict[int, int] = {}
        # When the last exchange ended.
        self._exchanged = now
        threading.Thread(target=self._watch, name='stalls', daemon=True).start()
        if store is not None:
            threading.Thread(target=self._exchange, name='stalls', daemon=True).start()

    def beat(self, where: str, patience: float = 1) -> None:
        """Begin a step.

        Args:
            where: What is done, for messages, such as ``'at iteration 7'``.
            patience: How many times the limit the step may take.
        """
        self._step = (self._step[0] + 1, where, time.monotonic(), patience)

    def close(self) -> None:
        """End the threads."""
        self._closed.set()

    def _status(self) -> Status:
        beats, where, since, patience = self._step
        now = time.monotonic()
        read = [
            (name, reading) for name, reading in readings() if now - reading.since > self._seconds
        ]
        if read:
            name, reading = read[0]
            return Status(beats, True, f'{where}: {name} is reading {reading.path}')
        frames = _frames(self._main)
        if any(frame.f_code.co_name == _SAVING for frame in frames):
            patience = max(patience, PATIENCE)
        waiting = now - since > self._seconds * patience
        return Status(beats, waiting, f'{where}, in {_place(frames)}')

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._closed.wait(self._interval):
            now = time.monotonic()
            if now - last > 3 * self._interval + 1:
                # This process was suspended; that is no stall.
                beats, where, _, patience = self._step
                self._step = (beats, where, now, patience)
                self._exchanged = now
                self._others = {rank: (status, now) for rank, (status, _) in self._others.items()}
            last = now
            if now - self._step[2] > self._seconds:
                own = self._status()
                blamed = self._blamed(own, now) if own.waiting else None
                if blamed is not None:
                    self._end(own, blamed)

    def _blamed(self, own: Status, now: float) -> str | None:
        """Return what the run waits for, or None if that takes its time."""
        silent_after = 5 * self._interval + 2
        if self._store is not None and now - self._exchanged > silent_after:
            return (
                'the store of the process group does not respond: its process, which is rank 0 '
                'without torchrun, is stopped, or its machine hangs'
            )
        for rank, (_, seen) in sorted(self._others.items()):
            if now - seen > silent_after:
                return f'rank {rank} does not respond: it is stopped, or its machine hangs'
        statuses = {rank: status for rank, (status, _) in self._others.items()}
        statuses[self._rank] = own
        behind = min(status.beats for status in statuses.values())
        last = {rank: status for rank, status in statuses.items() if status.beats == behind}
        if not all(status.waiting for status in last.values()):
            return None
        rank, status = min(last.items())
        if len(last) > 1:
            # Reading is a reason; computing together is not.
            rank, status = next(
                (
                    (rank, status)
                    for rank, status in sorted(last.items())
                    if 'is reading' in status.where
                ),
                (rank, status),
            )
        return f'rank {rank} waits {status.where}'

    def _exchange(self) -> None:
        count = 0
        while not self._closed.is_set():
            count += 1
            try:
                status = self._status()
                self._store.set(f'status/{self._rank}', json.dumps([count, *status]))
                for rank in self._others:
                    key = f'status/{rank}'
                    if self._store.check([key]):
                        number, *fields = json.loads(self._store.get(key))
                        if self._counts.get(rank) != number:
                            self._counts[rank] = number
                            self._others[rank] = (Status(*fields), time.monotonic())
            except RuntimeError:
                # The store has ended, and the run with it.
                return
            self._exchanged = time.monotonic()
            self._closed.wait(self._interval)

    def _end(self, own: Status, blamed: str) -> NoReturn:
        self._stacks.parent.mkdir(parents=True, exist_ok=True)
        with self._stacks.open('a') as file:
            print(f'rank {self._rank} {own.where}', file=file, flush=True)
            faulthandler.dump_traceback(file)
        print(
            f'rank {self._rank} has made no progress for {time.monotonic() - self._step[2]:.0f} s '
            f'{own.where}; its stacks are in {self._stacks}',
            file=sys.stderr,
            flush=True,
        )
        sentence = (
            f'the {self._what} made no progress for {self._seconds:g} s and was ended: {blamed}; '
            'check that process and its storage, '
            + ('continue with --resume, ' if self._what == 'training' else '')
            + f'or set {SECONDS} to a longer time.'
        )
        if self._store is not None:
            sentence = self._agreed(sentence)
            # The launcher ends the other processes when the first one ends.
            time.sleep(2 * self._interval + 1)
        self._at_end()
        report(sentence)
        sys.stderr.flush()
        os._exit(STALLED)

    def _agreed(self, sentence: str) -> str:
        """Return the sentence of the first process, if it can be had."""
        found = [sentence]

        def ask() -> None:
            with contextlib.suppress(RuntimeError):
                found.append(self._store.compare_set('sentence', '', sentence).decode())

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(3)
        return found[-1]


def _frames(thread: int | None) -> list[FrameType]:
    """Return the frames of a thread, innermost first."""
    frame = sys._current_frames().get(thread or 0)
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _place(frames: list[FrameType]) -> str:
    """Return the innermost frame, and the innermost one of this project if it is another."""
    ours = next((frame for frame in frames if 'mmseg_encnet' in frame.f_code.co_filename), None)
    shown = [*frames[:1], *([ours] if ours is not None and ours is not frames[0] else [])]
    return ', called from '.join(
        f'{frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}, line {frame.f_lineno})'
        for frame in shown
    )
