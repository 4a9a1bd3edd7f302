"""Train on two nodes in network namespaces, one of which is killed, cut off or restarted."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import record
import torch
from jobs import ENDLESS, Job, train_command
from nodes import TwoNodes, two_nodes
from tiny_setup import SHRUNK
from whole_and_parts import draw_images

LIMIT = 30
TIMEOUT = 15
ITERATIONS = 60
FINITE = {
    **SHRUNK,
    'train_cfg.max_iters': ITERATIONS,
    'train_cfg.val_interval': ITERATIONS,
    'default_hooks.checkpoint.interval': 5,
    'randomness.seed': 0,
}
LAST = f'iter_{ITERATIONS}.pth'


def measure() -> dict[str, str | float]:
    figures = {}
    with tempfile.TemporaryDirectory() as folder, two_nodes(Path(folder)) as nodes:
        data = draw_images(Path(folder) / 'data')
        for victim in (1, 0):
            seconds = _killed_node(nodes, data, victim)
            figures[f'node {victim} killed: s until the other ended'] = round(seconds, 1)
        whole = _uninterrupted(nodes, data)
        for label, hurt in (
            ('one process killed', _kill_process),
            ('node 1 killed and started again', _replace_node),
        ):
            work_dir = nodes.folder / label.replace(' ', '_')
            resumed, seconds = hurt(nodes, data, work_dir)
            state = _weights(work_dir / LAST)
            difference = max(
                float((state[key].double() - value.double()).abs().max())
                for key, value in whole.items()
            )
            figures[f'{label}: resumed automatically at iteration'] = resumed
            figures[f'{label}: s until training continued'] = round(seconds, 1)
            figures[
                f'{label}: largest difference of the final weights from an uninterrupted run'
            ] = difference
            assert 0 < resumed < ITERATIONS, f'{label}: resumed at {resumed}'
            assert difference == 0, f'{label}: weights differ by {difference}'
        seconds = _cut_off(nodes, data)
        figures[f'network cut, dist_cfg.timeout={TIMEOUT}: s until both ended'] = round(seconds, 1)
    return figures


def _killed_node(nodes: TwoNodes, data: Path, victim: int) -> float:
    command = train_command(data, nodes.folder / f'killed_{victim}', 1, ENDLESS)
    with nodes.start(0, command) as first, nodes.start(1, command) as second:
        first.wait_for('Iter(train)', 180)
        killed, left = (first, second) if victim == 0 else (second, first)
        start = time.monotonic()
        killed.kill()
        left.seconds_to_end(LIMIT)
        seconds = time.monotonic() - start
        assert left.process.returncode == 1, left.output[-3000:]
        assert len(left.errors) == 1 and 'another process of the' in left.errors[0], left.errors
    return seconds


def _cut_off(nodes: TwoNodes, data: Path) -> float:
    command = train_command(
        data, nodes.folder / 'cut', 1, {**ENDLESS, 'env_cfg.dist_cfg.timeout': TIMEOUT}
    )
    with nodes.start(0, command) as first, nodes.start(1, command) as second:
        first.wait_for('Iter(train)', 180)
        nodes.cut_cable()
        start = time.monotonic()
        for left in (first, second):
            left.seconds_to_end(TIMEOUT + LIMIT)
            assert left.process.returncode == 1, left.output[-3000:]
            assert len(left.errors) == 1, left.errors
        return time.monotonic() - start


def _uninterrupted(nodes: TwoNodes, data: Path) -> dict[str, torch.Tensor]:
    command = train_command(data, nodes.folder / 'whole', 1, FINITE)
    with nodes.start(0, command) as first, nodes.start(1, command) as second:
        _finish(first, second)
    return _weights(nodes.folder / 'whole' / LAST)


def _kill_process(nodes: TwoNodes, data: Path, work_dir: Path) -> tuple[int, float]:
    command = train_command(data, work_dir, 1, FINITE)
    with (
        nodes.start(0, command, MAX_RESTARTS='1') as first,
        nodes.start(1, command, MAX_RESTARTS='1') as second,
    ):
        first.wait_for('Saving checkpoint at 20 ', 180)
        os.kill(second.process_of(1), signal.SIGKILL)
        seconds = _until_resumed(first)
        _finish(first, second)
        return _resumed_at(first), seconds


def _replace_node(nodes: TwoNodes, data: Path, work_dir: Path) -> tuple[int, float]:
    command = train_command(data, work_dir, 1, FINITE)
    with nodes.start(0, command, MAX_RESTARTS='1') as first:
        with nodes.start(1, command, MAX_RESTARTS='1') as second:
            first.wait_for('Saving checkpoint at 20 ', 180)
            second.kill()
        with nodes.start(1, command, MAX_RESTARTS='1') as second:
            seconds = _until_resumed(first)
            _finish(first, second)
            return _resumed_at(first), seconds


def _until_resumed(running: Job) -> float:
    start = time.monotonic()
    running.wait_for('resumed epoch: 0, iter: ', 180)
    return time.monotonic() - start


def _resumed_at(running: Job) -> int:
    return int(running.output.rpartition('resumed epoch: 0, iter: ')[2].split()[0])


def _finish(*running: Job) -> None:
    for one in running:
        one.seconds_to_end(300)
        assert one.process.returncode == 0, one.output[-3000:]


def _weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    # Written by the run above; it holds more than plain weights.
    return torch.load(checkpoint, weights_only=False)['state_dict']


if __name__ == '__main__':
    record.run(
        'Two nodes',
        'Two nodes in network namespaces train through tools/dist_train.sh; if one is killed, the '
        f'other ends within {LIMIT} s with an error of one sentence. With MAX_RESTARTS the job '
        'resumes from its last checkpoint automatically and, with the same number of threads, '
        'reaches the same weights.',
        measure,
    )
