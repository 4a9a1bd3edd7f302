"""Measure the time from a fault in one process to the end of the whole job."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import record
from jobs import ENDLESS, Job, job, train_command
from tiny_setup import MSRC21
from waiting import free_port
from whole_and_parts import draw_images

LIMIT = 30
ITERATION = 'Iter(train) [    10/'
OPTIONS = {**ENDLESS, 'default_hooks.logger.interval': 10}
RAISING = """
import os
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class RaisingHook(Hook):
    def __init__(self, rank):
        self.rank = rank

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 10 and int(os.environ['RANK']) == self.rank:
            raise RuntimeError('a defect')
"""


def measure() -> dict[str, str | float]:
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        data = draw_images(folder / 'data')
        for processes, rank in ((2, 0), (2, 1), (3, 2)):
            where = f'process {rank} of {processes}'
            figures[f'{where} killed'] = _seconds(
                folder,
                data,
                processes,
                lambda running, rank=rank: os.kill(running.process_of(rank), signal.SIGKILL),
                ['(SIGKILL)'],
            )
            figures[f'data loading worker of {where} killed'] = _seconds(
                folder,
                data,
                processes,
                lambda running, rank=rank: os.kill(
                    running.process_of(rank, loading=True), signal.SIGKILL
                ),
                ['is killed by signal: Killed'],
            )
            figures[f'exception in {where}'] = _seconds(
                folder,
                data,
                processes,
                None,
                ['RuntimeError: a defect'],
                _config_with_a_defect(folder, rank),
            )
        figures['wrong config key, found by both processes'] = _seconds(
            folder,
            data,
            2,
            None,
            [],
            options={'model.decode_head.num_coedes': 3},
            sentence='num_coedes',
        )
        image = data / 'images' / 'train' / '3.jpg'
        image.write_bytes(b'no image')
        figures['broken image, loaded by one of 2 processes'] = _seconds(
            folder, data, 2, None, [], sentence=str(image)
        )
    slowest = max(figures.values())
    return {
        **{
            f'{fault} (s until all processes have ended)': round(seconds, 1)
            for fault, seconds in figures.items()
        },
        'slowest (s)': round(slowest, 1),
    }


def _seconds(
    folder: Path,
    data: Path,
    processes: int,
    fault: Callable[[Job], None] | None,
    shown: list[str],
    config: Path = MSRC21,
    options: dict | None = None,
    sentence: str | None = None,
) -> float:
    """Train, cause the fault, and return the seconds until no process is left.

    If the fault occurs by itself, the time starts with its first trace in the log.
    """
    log = folder / 'log'
    command = train_command(
        data, folder / 'work', processes, {**OPTIONS, **(options or {})}, config
    )
    environment = dict(PORT=free_port(), PYTHONPATH=f'{folder}{os.pathsep}{record.ROOT}')
    with job(command, log, environment, folder) as running:
        if fault is None:
            running.wait_for((shown + [sentence])[0], 180)
        else:
            running.wait_for(ITERATION, 180)
            fault(running)
        start = time.monotonic()
        running.seconds_to_end(LIMIT)
        seconds = time.monotonic() - start
        output = running.output
        assert running.process.returncode == 1, output[-3000:]
        assert all(text in output for text in shown), f'{shown} not in {output[-3000:]}'
        if sentence:
            assert len(running.errors) == 1 and sentence in running.errors[0], running.errors
    return seconds


def _config_with_a_defect(folder: Path, rank: int) -> Path:
    (folder / 'raising_hook.py').write_text(RAISING)
    config = folder / f'raises_in_{rank}.py'
    config.write_text(
        f'_base_ = {str(MSRC21)!r}\n'
        "custom_imports = dict(imports=['mmseg_encnet', 'raising_hook'])\n"
        f"custom_hooks = [dict(type='RaisingHook', rank={rank})]\n"
    )
    return config


if __name__ == '__main__':
    record.run(
        'A process of a distributed run fails',
        f'If any process ends, the whole job ends within {LIMIT} s and shows the error; a mistake '
        'of the user is reported in one sentence, however many processes raise it.',
        measure,
    )
