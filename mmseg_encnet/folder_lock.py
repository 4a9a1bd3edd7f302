"""Lock a folder so that two runs do not write into it at the same time.

The lock is a file with the host, process and command of its holder. It outlives a killed holder, so
a newcomer checks the holder: on the same machine by the process id and its start time, on another
one by the heartbeat, which is the file's time of modification.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmseg_encnet.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_WINDOWS = sys.platform == 'win32'
NAME = '.lock'
# The holder refreshes its lock so often, and loses it after so long without a refresh.
BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0


class FolderLock:
    """The lock of a folder, held from :meth:`take` to :meth:`release`.

    Args:
        folder: The folder; created if missing.
        subject: The folder in messages, such as ``'work dir work_dirs/a'``.
        remedy: What a second run can do, such as ``'choose another one with --work-dir'``.
        report: Called with a sentence if a stale lock is taken over.
        lost: Called with a sentence, in another thread, if another run has taken the lock.
    """

    def __init__(
        self,
        folder: Path,
        subject: str,
        remedy: str,
        report: Callable[[str], None] = lambda sentence: print(sentence, file=sys.stderr),
        lost: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._path = folder / NAME
        self._subject = subject
        self._remedy = remedy
        self._report = report
        self._lost = lost
        self._own: dict[str, Any] = {}
        self._released = threading.Event()

    def take(self) -> None:
        """Take the lock.

        If the holder is on another machine and silent, wait until its lock is stale.

        Raises:
            UserError: Another run holds the lock, or the folder cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            first_seen: float | None = None
            while True:
                with _opened(self._path) as file:
                    holder = _read(file)
                    beat = os.fstat(file).st_mtime
                    alive = _is_alive(holder)
                    if alive is None:
                        # The clock of the file system, which both machines see.
                        alive = _now(self._path.parent) - beat < STALE_SECONDS
                        certain = first_seen is not None and beat != first_seen
                    else:
                        certain = True
                    if not alive:
                        self._take_over(file, holder)
                        break
                if certain:
                    raise UserError(self._held(holder))
                if first_seen is None:
                    first_seen = beat
                    self._report(
                        f'{self._subject} is locked by {_describe(holder)}; waiting up to '
                        f'{STALE_SECONDS:.0f} s for a sign of it.'
                    )
                time.sleep(1)
        except OSError as error:
            raise UserError(
                f'{self._subject} cannot be written ({error.strerror}); {self._remedy}.'
            ) from error
        threading.Thread(target=self._beat, name='folder lock', daemon=True).start()

    def release(self) -> None:
        """Remove the lock, if this process still holds it."""
        if self._released.is_set() or self._own.get('pid') != os.getpid():
            return
        self._released.set()
        with contextlib.suppress(OSError):
            with _opened(self._path) as file:
                held = _read(file) == self._own
                if held and not _WINDOWS:
                    self._path.unlink()
            if held and _WINDOWS:
                # It does not remove open files.
                self._path.unlink()

    def __enter__(self) -> FolderLock:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _take_over(self, file: int, former: dict[str, Any]) -> None:
        self._own = _this_process()
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, json.dumps(self._own).encode())
        os.fsync(file)
        if former:
            self._report(
                f'{self._subject} was locked by {_describe(former)}, which has ended; the lock is '
                'taken over.'
            )

    def _held(self, holder: dict[str, Any]) -> str:
        return (
            f'{self._subject} is in use by {_describe(holder)}; wait until it has ended, stop it, '
            f'or {self._remedy}.'
        )

    def _beat(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            try:
                with _opened(self._path, create=False) as file:
                    holder = _read(file)
                    if holder == self._own:
                        os.utime(file if os.utime in os.supports_fd else self._path)
                        continue
            except FileNotFoundError:
                holder = {}
            except OSError:
                continue
            if not self._released.is_set():
                by = f'by {_describe(holder)}' if holder else 'because its lock file was removed'
                self._lost(
                    f'{self._subject} was taken over {by}; this run ends, because both would write '
                    'into it.'
                )
            return


@contextlib.contextmanager
def _opened(path: Path, create: bool = True) -> Iterator[int]:
    """Open a lock file, so that no other process reads or writes it meanwhile."""
    while True:
        flags = os.O_RDWR | getattr(os, 'O_NOFOLLOW', 0) | (os.O_CREAT if create else 0)
        file = os.open(path, flags, 0o666)
        try:
            if fcntl is not None:
                # Some network file systems have no locks; a race is then possible.
                with contextlib.suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX)
            try:
                current = path.stat().st_ino == os.fstat(file).st_ino
            except FileNotFoundError:
                current = False
            if current:
                yield file
                return
        finally:
            os.close(file)


def _read(file: int) -> dict[str, Any]:
    """Return the holder, empty if there is none or the file is no lock."""
    os.lseek(file, 0, os.SEEK_SET)
    try:
        holder = json.loads(os.read(file, 1 << 16))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return dict(
        host=socket.gethostname(),
        machine=_machine(),
        pid=pid,
        started=_start_of(pid),
        since=time.strftime('%Y-%m-%d %H:%M:%S'),
        command=shlex.join(sys.argv)[:500],
    )


def _describe(holder: dict[str, Any]) -> str:
    return (
        f'process {holder.get("pid")} on {holder.get("host")} since {holder.get("since")} '
        f'({holder.get("command")})'
    )


def _is_alive(holder: dict[str, Any]) -> bool | None:
    """Return whether the holder is running, None if it is on another machine."""
    if type(holder.get('pid')) is not int:
        return False
    if (holder.get('host'), holder.get('machine')) != (socket.gethostname(), _machine()):
        return None
    started = _start_of(holder['pid'])
    if started is not None:
        return started == holder.get('started')
    if Path('/proc/self/stat').exists():
        return False
    if _WINDOWS:
        # There, os.kill ends the process whatever the signal.
        return None
    try:
        os.kill(holder['pid'], 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _start_of(pid: int) -> str | None:
    """Return when a process started, in clock ticks; None if it has ended or this is not Linux."""
    try:
        fields = Path(f'/proc/{pid}/stat').read_text(errors='replace').rpartition(')')[2].split()
    except OSError:
        return None
    # A zombie has ended.
    return None if fields[0] in 'ZX' else fields[19]


def _machine() -> str:
    """Return what distinguishes machines, and containers, of the same name."""
    parts = []
    with contextlib.suppress(OSError):
        parts.append(Path('/proc/sys/kernel/random/boot_id').read_text().strip())
        parts.append(str(Path('/proc/self/ns/pid').readlink()))
    return ' '.join(parts)


def _now(folder: Path) -> float:
    """Return the time by the clock of a folder's file system."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime
