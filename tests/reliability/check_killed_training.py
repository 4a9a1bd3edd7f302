"""Kill a training run repeatedly, at random moments and while it writes checkpoints.

Each round starts ``tools/train.py --resume`` in a forked process. Half of the rounds are killed
from outside after a random time. In the others the process sends the signal to itself: after a
random number of bytes of a checkpoint, between writing and renaming it, between renaming it and
recording it as the last checkpoint, or before removing an outdated file.
"""

from __future__ import annotations

import atexit
import json
import os
import pathlib
import random
import runpy
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import record
import torch
from mmengine.runner import CheckpointLoader
from tiny_scenes import CONFIG, TINY_SCENES
from tiny_setup import ROOT, option_strings

from mmseg_encnet.checkpoints.whole_files import check_undamaged
from mmseg_encnet.toolbox_changes import guard_process

SEED = 20180323
# Stages of writing a checkpoint, by the audit event of CPython that precedes them.
MOMENTS = ('open', 'bytes', 'os.rename', 'last_checkpoint', 'os.remove')


class Training:
    """A run on the embedded data set that is killed and resumed.

    Args:
        folder: Folder of the work dir and the log.
        iterations: Length of the run.
    """

    def __init__(self, folder: Path, iterations: int) -> None:
        self.work_dir = folder / 'work'
        self.last = self.work_dir / f'iter_{iterations}.pth'
        self.log = folder / 'output.txt'
        self.options = {
            **TINY_SCENES,
            'train_cfg.max_iters': iterations,
            'train_cfg.val_interval': 4,
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.checkpoint.max_keep_ckpts': 2,
            'default_hooks.logger.interval': 1,
            'randomness.seed': 3,
            'log_level': 'WARNING',
        }

    def start(self, workers: int = 0, before: Callable[[], None] | None = None) -> psutil.Process:
        """Start or resume the run in a forked process, which has loaded all modules already."""
        pid = os.fork()
        if not pid:
            self._run(workers, before)
        return psutil.Process(pid)

    def _run(self, workers: int, before: Callable[[], None] | None) -> NoReturn:
        status = 1
        # Those of the check, which would remove its folders.
        atexit._clear()
        try:
            os.setsid()
            stream = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            options = {
                **self.options,
                'train_dataloader.num_workers': workers,
                'train_dataloader.persistent_workers': workers > 0,
            }
            sys.argv = [
                'train.py',
                CONFIG,
                '--work-dir',
                str(self.work_dir),
                '--resume',
                '--cfg-options',
                *option_strings(options),
            ]
            if before is not None:
                before()
            runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')
        except SystemExit as ended:
            status = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def check(self) -> int:
        """Check the files on disk after a kill, and return the number of temporary ones."""
        if not self.work_dir.is_dir():
            return 0
        for path in self.work_dir.glob('*.pth'):
            check_undamaged(path)
            assert 'state_dict' in CheckpointLoader.load_checkpoint(str(path)), path
        note = self.work_dir / 'last_checkpoint'
        if note.is_file():
            assert Path(note.read_text()).is_file(), f'{note} names {note.read_text()!r}'
        return len(list(self.work_dir.glob('*.part')))


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(moment: str, count: int, cut: float) -> Callable[[], None]:
    """Return a function that makes a process kill itself at the ``count``-th such stage."""
    left = count

    def reached() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    def audit(event: str, arguments: tuple) -> None:
        if not arguments or not str(arguments[0]).endswith('.part'):
            outdated = event == 'os.remove' and str(arguments[0]).endswith('.pth')
            if not (outdated and moment == event):
                return
        elif event != moment and not (
            event == 'open' and moment == 'last_checkpoint' and moment in str(arguments[0])
        ):
            return
        if reached():
            kill_self()

    def torn_open(path: Path, mode: str = 'r', *args, **kwargs):
        file = whole_open(path, mode, *args, **kwargs)
        if path.name.endswith('.part') and '.pth.' in path.name and reached():

            def write_part(data: bytes) -> None:
                os.write(file.fileno(), bytes(data[: int(cut * len(data))]))
                kill_self()

            class Torn:
                write = staticmethod(write_part)

                def __enter__(self) -> Torn:
                    return self

                def __exit__(self, *_) -> None:
                    pass

            return Torn()
        return file

    whole_open = pathlib.Path.open

    def prepare() -> None:
        if moment == 'bytes':
            pathlib.Path.open = torn_open
        else:
            sys.addaudithook(audit)

    return prepare


def measure(kills: int = 25, iterations: int = 150) -> record.Figures:
    torch.set_num_threads(1)
    guard_process()
    rng = random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder:
        whole = Training(Path(folder, 'whole'), iterations)
        whole.log.parent.mkdir()
        start = time.monotonic()
        assert whole.start().wait() == 0, whole.log.read_text()[-2000:]
        seconds = time.monotonic() - start

        killed = Training(Path(folder, 'killed'), iterations)
        killed.log.parent.mkdir()
        inside, leftovers, orphans, done = 0, 0, [], 0
        for number in range(10 * kills):
            if done == kills:
                break
            workers = rng.choice((0, 0, 2))
            if number % 2:
                moment = MOMENTS[number // 2 % len(MOMENTS)]
                process = killed.start(workers, kill_at(moment, rng.randint(1, 4), rng.random()))
            else:
                process = killed.start(workers)
                time.sleep(rng.uniform(0.2, max(0.5, 8 * seconds / iterations + 1)))
                orphans += process.children(recursive=True) if process.is_running() else []
                process.kill()
            ended = process.wait(timeout=300)
            assert ended == -signal.SIGKILL, (number, ended, killed.log.read_text()[-2000:])
            done += 1
            torn = killed.check()
            inside += number % 2 or torn > 0
            leftovers += torn
        # The workers of a killed process check for their parent every few seconds.
        psutil.wait_procs(orphans, timeout=30)
        assert not any(process.is_running() for process in orphans), 'workers outlived the run'

        assert killed.start().wait() == 0, killed.log.read_text()[-2000:]
        killed.check()
        assert killed.last.is_file() and not list(killed.work_dir.glob('*.part'))
        kept = sorted(path.name for path in killed.work_dir.glob('*.pth'))
        assert kept == sorted(path.name for path in whole.work_dir.glob('*.pth')), kept
        ends = [CheckpointLoader.load_checkpoint(str(run.last)) for run in (whole, killed)]
        different = [
            key
            for key, value in ends[0]['state_dict'].items()
            if not torch.equal(value, ends[1]['state_dict'][key])
        ]
        assert not different, f'weights differ: {different}'
    return {
        'kills survived (`kill -9`)': done,
        'while a checkpoint was being written or replaced': inside,
        'unfinished files left by kills, all removed later': leftovers,
        'checkpoints that could not be read': 0,
        'iterations of the run, all completed': iterations,
        'weights that differ from those of an uninterrupted run': len(different),
        'data loading workers left behind': 0,
    }


if __name__ == '__main__':
    if len(sys.argv) == 3:
        print(json.dumps(measure(*map(int, sys.argv[1:]))))
    else:
        record.run(
            'Killed training',
            'A run killed at any moment, even while it writes a checkpoint, resumes with '
            '`--resume`. On the CPU, with the same number of threads, it ends with exactly the '
            'weights of an uninterrupted run. No checkpoint is ever unreadable.',
            measure,
        )
