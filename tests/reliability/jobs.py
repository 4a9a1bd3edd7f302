"""Jobs of several processes, started from the command line, and faults in them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tiny_setup import MSRC21, ROOT, SHRUNK, option_strings

# A run that does not end by itself, with a data loading process.
ENDLESS = {
    **SHRUNK,
    'train_cfg.max_iters': 100_000,
    'train_cfg.val_interval': 100_000,
    'default_hooks.checkpoint.interval': 100_000,
    'train_dataloader.num_workers': 1,
    'train_dataloader.persistent_workers': True,
}
_MARK = 'MMSEG_ENCNET_TEST_JOB'


class Job:
    """A command with all processes that it has started, including those in other sessions.

    Args:
        command: The command.
        log: File for the output.
        environment: Variables in addition to those of this process.
        cwd: Working directory.
    """

    def __init__(
        self, command: Sequence[object], log: Path, environment: dict[str, str], cwd: Path
    ) -> None:
        self.log = log
        self._mark = uuid.uuid4().hex
        environment = {
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'PYTHONPATH': str(ROOT),
            'PYTHON': sys.executable,
            **environment,
            _MARK: self._mark,
        }
        with log.open('wb') as stream:
            self.process = subprocess.Popen(
                list(map(str, command)),
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=environment,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors='replace')

    @property
    def errors(self) -> list[str]:
        """The error sentences in its output."""
        return [line for line in self.output.splitlines() if line.startswith('error: ')]

    def pids(self) -> dict[int, dict[str, str]]:
        """Return the environment of every running process of the job, by process id."""
        found = {}
        for folder in Path('/proc').iterdir():
            if folder.name.isdigit():
                try:
                    content = (folder / 'environ').read_bytes().decode(errors='replace')
                    state = (folder / 'stat').read_text().rpartition(')')[2].split()[0]
                except (OSError, IndexError):
                    continue
                environment = dict(
                    entry.split('=', 1) for entry in content.split('\0') if '=' in entry
                )
                if environment.get(_MARK) == self._mark and state != 'Z':
                    found[int(folder.name)] = environment
        return found

    def process_of(self, rank: int, loading: bool = False) -> int:
        """Return the process id of a rank, or of a process that loads data for it."""
        ranked = [
            pid for pid, environment in self.pids().items() if environment.get('RANK') == str(rank)
        ]
        return next(pid for pid in ranked if (_parent(pid) in ranked) == loading)

    def wait_for(self, text: str, seconds: float = 120, times: int = 1) -> None:
        """Wait until the log contains a text the given number of times."""
        self._wait(lambda: self.output.count(text) >= times, seconds, f'{text!r}')

    def seconds_to_end(self, limit: float) -> float:
        """Wait until no process of the job is left, and return the seconds."""
        start = time.monotonic()
        self._wait(lambda: self.process.poll() is not None and not self.pids(), limit, 'its end')
        return time.monotonic() - start

    def kill(self) -> None:
        """Kill all processes at once, as when the machine stops."""
        while self.process.poll() is None or self.pids():
            for pid in self.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def _wait(self, done, seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f'waited {seconds:.0f} s for {what}; running: {sorted(self.pids())}; '
                    f'log: {self.output[-5000:]}'
                )
            time.sleep(0.05)


def train_command(
    data: Path, work_dir: Path, processes: int, options: dict, config: Path = MSRC21
) -> list[object]:
    """Return the command that trains the smallest network through ``dist_train.sh``."""
    return [
        ROOT / 'tools' / 'dist_train.sh',
        config,
        processes,
        '--work-dir',
        work_dir,
        '--cfg-options',
        *option_strings({**options, 'data_root': data}),
    ]


@contextmanager
def job(
    command: Sequence[object], log: Path, environment: dict[str, str], cwd: Path
) -> Iterator[Job]:
    """Start a :class:`Job` and kill all of its processes afterwards."""
    started = Job(command, log, environment, cwd)
    try:
        yield started
    finally:
        started.kill()


def _parent(pid: int) -> int:
    return int(Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1])
