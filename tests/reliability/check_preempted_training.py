"""Preempt a training run repeatedly with signals, at random moments, in one and two processes.

Each round starts ``tools/train.py --resume`` in forked processes, which have loaded all modules,
and sends one of the signals to all of them, as Slurm does, or to one. Times are measured with
``tools/dist_train.sh``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import record
import torch
from check_killed_training import Training
from jobs import Job, job
from mmengine.runner import CheckpointLoader
from tiny_scenes import CONFIG
from tiny_setup import ROOT, option_strings
from waiting import free_port

from mmseg_encnet.toolbox_changes import guard_process

SEED = 20180323
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)
LIMIT = 30
LIMIT_WITHOUT_LAUNCHER = 10
ENDED = 'Iter(train)'


def start(training: Training, processes: int, workers: int) -> list[psutil.Process]:
    """Start or resume a run in forked processes."""
    port = free_port()

    def join(rank: int) -> Callable[[], None]:
        def prepare() -> None:
            os.environ.update(
                RANK=str(rank),
                WORLD_SIZE=str(processes),
                LOCAL_RANK=str(rank),
                MASTER_ADDR='127.0.0.1',
                MASTER_PORT=port,
            )
            sys.argv[2:2] = ['--launcher', 'pytorch']

        return prepare

    if processes == 1:
        return [training.start(workers)]
    return [training.start(workers, join(rank)) for rank in range(processes)]


def training_in(folder: Path, iterations: int) -> Training:
    """Return a run whose checkpoints and validations are rarer than its preemptions."""
    training = Training(folder, iterations)
    training.options |= {
        'default_hooks.checkpoint.interval': 20,
        'train_cfg.val_interval': 10,
        'train_dataloader.dataset.num_scenes': 16,
        'val_dataloader.dataset.num_scenes': 2,
    }
    training.log.parent.mkdir()
    return training


def trains_since(training: Training, begin: float) -> bool:
    """Return whether a run has logged an iteration since a time."""
    # A run that resumes may repeat a validation first.
    return any(
        path.stat().st_mtime > begin and '"loss"' in path.read_text()
        for path in training.work_dir.glob('*/vis_data/scalars.json')
    )


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait(started: list[psutil.Process]) -> list[int]:
    return [process.wait(timeout=900) for process in started]


def preempt(folder: Path, processes: int, preemptions: int, iterations: int) -> record.Figures:
    """Preempt a run; assert that it ends like an undisturbed one."""
    rng = random.Random(SEED + processes)
    whole = training_in(folder / f'whole_{processes}', iterations)
    assert wait(start(whole, processes, 0)) == processes * [0], whole.log.read_text()[-2000:]

    parts = training_in(folder / f'parts_{processes}', iterations)
    slowest, early, done = 0.0, 0, 0
    while done < preemptions:
        started = start(parts, processes, rng.choice((0, 0, 2)))
        number = rng.choice(SIGNALS)
        one = rng.randrange(2 * processes)
        # A quarter of the signals arrive at any moment of the start, the others after it.
        start_up = rng.random() < 0.25
        begin = time.time()
        if start_up:
            time.sleep(rng.uniform(0.2, 3))
        training = trains_since(parts, begin)
        while not start_up and not training:
            assert all(map(is_alive, started)), parts.log.read_text()[-3000:]
            time.sleep(0.02)
            training = trains_since(parts, begin)
        if not start_up:
            time.sleep(rng.uniform(0, 0.4))
        # A process that has not joined the others cannot tell them.
        told = [started[one]] if training and one < processes else started
        assert all(map(is_alive, started)), parts.log.read_text()[-3000:]
        sent = time.monotonic()
        for process in told:
            process.send_signal(number)
        ended = wait(started)
        slowest = max(slowest, time.monotonic() - sent)
        assert 0 not in ended, f'the run is too short for {preemptions} preemptions'
        # A process may be hit before it handles signals.
        assert set(ended) <= {128 + number, -number}, (ended, parts.log.read_text()[-3000:])
        done += 1
        early += not trains_since(parts, begin)
        parts.check()
    assert 'Traceback' not in parts.log.read_text(), parts.log.read_text()[-3000:]
    assert wait(start(parts, processes, 0)) == processes * [0], parts.log.read_text()[-3000:]

    ends = [CheckpointLoader.load_checkpoint(str(run.last)) for run in (whole, parts)]
    different = differences(ends[0]['state_dict'], ends[1]['state_dict'])
    different += differences(ends[0]['optimizer'], ends[1]['optimizer'])
    assert not different, f'entries differ: {different[:5]}'
    kept = [sorted(path.name for path in run.work_dir.glob('*.pth')) for run in (whole, parts)]
    assert kept[0] == kept[1], kept
    assert slowest < LIMIT, slowest
    name = f'{processes} process' + 'es' * (processes > 1)
    return {
        f'{name}: preemptions in one run of {iterations} iterations': done,
        f'{name}: of these before an iteration was completed': early,
        f'{name}: weights and optimiser entries that differ from the undisturbed run': 0,
        f'{name}: slowest end after a signal (s)': round(slowest, 1),
    }


def differences(one: object, other: object, key: str = '') -> list[str]:
    """Return the keys whose values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = [] if one.keys() == other.keys() else [key]
        for name in one.keys() & other.keys():
            found += differences(one[name], other[name], f'{key}.{name}')
        return found
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [key]
    return [] if one == other else [key]


def seconds_to_end(
    folder: Path, number: signal.Signals, moment: str | float, limit: float, status: int | None
) -> float:
    """Return the seconds from a signal to the launcher of two processes to the end of the job."""
    training = Training(folder / 'timed', 100_000)
    training.log.parent.mkdir(exist_ok=True)
    options = {
        **training.options,
        'log_level': 'INFO',
        'train_dataloader.num_workers': 1,
        'train_dataloader.persistent_workers': True,
    }
    command = [ROOT / 'tools' / 'dist_train.sh', CONFIG, 2, '--work-dir', training.work_dir]
    command += ['--resume', '--cfg-options', *option_strings(options)]
    with job(command, training.log, dict(PORT=free_port()), folder) as running:
        if isinstance(moment, str):
            running.wait_for(moment, 180)
        else:
            wait_for_processes(running, moment)
        os.kill(running.process.pid, number)
        seconds = running.seconds_to_end(limit)
        output = running.output
        assert status is None or running.process.returncode == status, output[-3000:]
        assert 'Traceback' not in output, output[-3000:]
    return round(seconds, 1)


def wait_for_processes(running: Job, seconds: float) -> None:
    """Wait until the launcher has started its processes, and some time longer."""
    deadline = time.monotonic() + 120
    while len(running.pids()) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(seconds)


def measure(
    preemptions: int = 40,
    iterations: int = 150,
    numbers: Sequence[int] = (1, 2),
    timed: bool = True,
) -> record.Figures:
    torch.set_num_threads(1)
    guard_process()
    figures: dict[str, str | int | float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for processes in numbers:
            figures |= preempt(folder, processes, preemptions, iterations)
        for text, number, moment, status in (
            ('launcher killed (`kill -9`) in training', signal.SIGKILL, ENDED, None),
            ('launcher killed (`kill -9`) while the package loads', signal.SIGKILL, 0.2, None),
            ('SIGUSR1 to the launcher in training', signal.SIGUSR1, ENDED, 138),
            ('SIGTERM to the launcher in training', signal.SIGTERM, ENDED, 143),
        ):
            if not timed:
                break
            limit = LIMIT_WITHOUT_LAUNCHER if number == signal.SIGKILL else LIMIT
            seconds = seconds_to_end(folder, number, moment, limit, status)
            figures[f'{text}: s until no process was left'] = seconds
    return figures


if __name__ == '__main__':
    if len(sys.argv) > 1:
        print(json.dumps(measure(*map(int, sys.argv[1:]), [2], timed=False)))
    else:
        record.run(
            'Preempted training',
            'A training that gets SIGTERM, SIGUSR1, SIGHUP or SIGINT ends within 30 s with a '
            'checkpoint of its last iteration. On the CPU, with the same number of processes and '
            'threads, it ends after any number of preemptions with exactly the weights of an '
            'undisturbed run. All processes end within 10 s of losing their launcher.',
            measure,
        )
