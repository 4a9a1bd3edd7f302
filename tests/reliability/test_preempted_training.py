"""Signals, killed launchers, second runs and stalls of jobs from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from jobs import ENDLESS, job, train_command
from waiting import free_port

CHECK = Path(__file__).with_name('check_preempted_training.py')
# The promises are 10 and 30 s, but the machine that runs the tests may be busy.
SECONDS = 90


def test_preempted_training_ends_like_an_undisturbed_one(environment):
    # In a separate process, because it forks.
    ended = subprocess.run(
        [sys.executable, str(CHECK), '2', '30'],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        # Under nohup, and as a background job of a shell, processes start with these ignored.
        preexec_fn=lambda: [
            signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGHUP)
        ],
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert [value for key, value in figures.items() if 'preemptions in one run' in key] == [2]


def test_signals_kills_and_second_runs(tiny_data, tmp_path):
    """One job after the other in one work dir, each of which resumes."""
    command = [*train_command(tiny_data, tmp_path / 'work', 2, ENDLESS), '--resume']

    def start():
        return job(command, tmp_path / 'log', dict(PORT=free_port()), tmp_path)

    with start() as running:
        running.wait_for('Iter(train)')
        second = subprocess.run(
            [sys.executable, *map(str, _single(tiny_data, tmp_path / 'work'))],
            capture_output=True,
            text=True,
            timeout=3 * SECONDS,
        )
        assert second.returncode == 2
        last = second.stderr.strip().splitlines()[-1]
        assert last.startswith(f'error: work dir {tmp_path / "work"} is in use by process ')
        os.kill(running.process.pid, signal.SIGKILL)
        running.seconds_to_end(SECONDS)
    with start() as running:
        running.wait_for('Iter(train)')
        assert 'which has ended; the lock is taken over' in running.output
        os.kill(running.process.pid, signal.SIGUSR1)
        running.seconds_to_end(SECONDS)
        assert running.process.returncode == 138
        assert 'Traceback' not in running.output
        last = running.output.splitlines()[-1]
        assert last.startswith('training stopped by SIGUSR1 after iteration ')
    assert not (tmp_path / 'work' / '.lock').exists()


def _single(data: Path, work_dir: Path) -> list[object]:
    launcher, *rest = train_command(data, work_dir, 0, ENDLESS)
    rest.remove(0)
    return [launcher.with_name('train.py'), *rest]


def test_stopped_process_ends_the_job_in_a_sentence(tiny_data, tmp_path):
    with job(
        train_command(tiny_data, tmp_path / 'work', 2, ENDLESS),
        tmp_path / 'log',
        dict(PORT=free_port(), MMSEG_ENCNET_STALL_SECONDS='6'),
        tmp_path,
    ) as running:
        running.wait_for('Iter(train)')
        os.kill(running.process_of(1), signal.SIGSTOP)
        running.seconds_to_end(SECONDS)
        assert running.process.returncode == 124
        (sentence,) = running.errors
        assert 'rank 1 does not respond' in sentence
        assert 'rank 0 has made no progress for' in running.output
        assert 'Traceback' not in running.output
