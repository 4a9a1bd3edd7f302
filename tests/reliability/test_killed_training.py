"""``kill -9`` and a full disk during training."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_scenes import CONFIG, TINY_SCENES

from mmseg_encnet.checkpoints.whole_files import check_undamaged
from mmseg_encnet.resuming.find import find_resumable
from mmseg_encnet.running.explain import explain

CHECK = Path(__file__).with_name('check_killed_training.py')


def test_killed_training_goes_on_to_its_end(environment):
    # In a separate process, because it forks.
    ended = subprocess.run(
        [sys.executable, str(CHECK), '3', '16'],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert figures['kills survived (`kill -9`)'] == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder with room for a few checkpoints of a tiny network."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount = shutil.which('mount')
    if (
        mount is None
        or subprocess.run(
            [mount, '-t', 'tmpfs', '-o', 'size=1500k', 'tmpfs', str(folder)], capture_output=True
        ).returncode
    ):
        pytest.skip('mounting a small file system needs root privileges')
    yield folder
    subprocess.run([shutil.which('umount'), '--lazy', str(folder)], check=True)


def test_full_disk_ends_in_a_sentence_and_leaves_the_last_checkpoint(run_tool, small_disk):
    options = {
        **TINY_SCENES,
        'train_cfg.max_iters': 60,
        'train_cfg.val_interval': 60,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.checkpoint.max_keep_ckpts': -1,
        'default_hooks.logger.interval': 1,
    }
    train = ('train', CONFIG, '--work-dir', small_disk / 'work')
    sentence = run_tool(*train, options=options).sentence
    assert str(small_disk / 'work') in sentence and 'No space left on device' in sentence

    work_dir = small_disk / 'work'
    checkpoints = list(work_dir.glob('iter_*.pth'))
    assert checkpoints and not list(work_dir.glob('*.part'))
    for path in checkpoints:
        check_undamaged(path)
    last = find_resumable(work_dir, pytest.fail)
    newest = max(int(path.stem.removeprefix('iter_')) for path in checkpoints)
    # The disk can be full just when the newest one is to be recorded as the last one.
    assert last in [str(work_dir / f'iter_{number}.pth') for number in (newest - 1, newest)]

    # As the message advises: free space and continue.
    for path in checkpoints:
        if str(path) != last:
            path.unlink()
    done = int(Path(last).stem.removeprefix('iter_'))
    more = ('--resume', '--extend-to', done + 1)
    assert run_tool(*train, *more, options=options).status == 0
    assert (work_dir / f'iter_{done + 1}.pth').is_file()


def test_full_disk_before_training_ends_in_a_sentence():
    error = OSError(errno.ENOSPC, 'No space left on device', 'out/0.png')
    assert explain(error) == (
        'out/0.png cannot be written (No space left on device); free space on its disk.'
    )
    assert explain(OSError(errno.EIO, 'Input/output error', 'out/0.png')) == (
        'out/0.png cannot be used (Input/output error); check its disk.'
    )
    assert explain(OSError(errno.ECONNRESET, 'Connection reset by peer')) is None
