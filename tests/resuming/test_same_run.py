"""A run continues silently where nothing changed that matters, and in other processes."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import CheckpointLoader
from PIL import Image
from process_group import in_process_group
from same_to_the_bit import assert_same
from stopped_runs import LENGTH, Runs

from mmseg_encnet.errors import UserError


def edit_label(root: Path) -> None:
    path = root / 'labels/train/3.png'
    label = np.array(Image.open(path))
    label[-1, -1] = (label[-1, -1] + 1) % 21
    Image.fromarray(label).save(path)


def swap(root: Path) -> None:
    for one, other in (('0', '2'), ('1', '3')):
        first, second = (root / f'images/train/{name}.jpg' for name in (one, other))
        shutil.move(first, root / 'aside')
        shutil.move(second, first)
        shutil.move(root / 'aside', second)


def gain(root: Path) -> None:
    shutil.copy(root / 'images/train/0.jpg', root / 'images/train/9.jpg')
    shutil.copy(root / 'labels/train/0.png', root / 'labels/train/9.png')


def rename(root: Path) -> None:
    for folder, suffix in (('images', 'jpg'), ('labels', 'png')):
        (root / folder / f'train/0.{suffix}').rename(root / folder / f'train/10.{suffix}')


def touch(root: Path) -> None:
    for path in root.rglob('*.*'):
        os.utime(path, (0, 0))


# What is done to a copy of the data, and what the message says.
DATA: dict[str, tuple[Callable[[Path], None], str | None]] = {
    'moved': (touch, None),
    'lost': (lambda root: (root / 'images/train/3.jpg').unlink(), '(8, now 7) changed: 1 lost;'),
    'gained': (gain, '(8, now 9) changed: 1 gained (9.jpg with 9.png);'),
    'renamed': (rename, '(8) changed: 1 lost and 1 gained (10.jpg with 10.png);'),
    'swapped': (
        swap,
        '(8) changed: 4 with other content (0.jpg with 0.png, 1.jpg with 1.png, ...);',
    ),
    'edited label': (edit_label, '(8) changed: 1 with other content (3.jpg with 3.png);'),
}


@pytest.mark.parametrize('name', DATA)
def test_images_are_recognised_in_any_folder(name, runs, tmp_path):
    change, message = DATA[name]
    work_dir = runs.stopped(tmp_path / 'work')
    root = tmp_path / 'elsewhere'
    shutil.copytree(runs.data, root)
    change(root)
    options = {'data_root': str(root)}
    if message is not None:
        with pytest.raises(UserError) as refused:
            runs.train(work_dir, options)
        assert message in str(refused.value)
        assert 'accept it with --override data.' in str(refused.value)
    runs.train(work_dir, options, override='data' if message else '')
    assert (work_dir / f'iter_{LENGTH}.pth').is_file()


def test_free_settings_are_not_compared(runs, tmp_path):
    work_dir = runs.stopped(tmp_path / 'work')
    runs.train(
        work_dir,
        {
            'train_cfg.val_interval': 2,
            'train_dataloader.num_workers': 1,
            'train_dataloader.dataset.serialize_data': True,
            'default_hooks.logger.interval': 1,
            'default_hooks.checkpoint.interval': 3,
            'custom_hooks': [dict(type='DictionaryHealthHook')],
            'find_unused_parameters': True,
            'model.backbone.init_cfg': None,
            'auto_scale_lr.base_batch_size': 16.0,
        },
    )
    log = ''.join(path.read_text() for path in work_dir.glob('*/*.log'))
    assert not any(words in log for words in ('no record', 'does not', 'instead of'))
    whole = next(iter(runs.finished.values())) / f'iter_{LENGTH}.pth'
    ends = [CheckpointLoader.load_checkpoint(str(p)) for p in (work_dir / whole.name, whole)]
    assert_same(ends[0]['state_dict'], ends[1]['state_dict'])


@HOOKS.register_module(force=True)
class RecordBatches(Hook):
    """Writes which images each process trains on, with the sums of their pixels."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        samples = zip(data_batch['inputs'], data_batch['data_samples'])
        drawn = [(Path(s.img_path).name, float(pixels.double().sum())) for pixels, s in samples]
        name = f'batch_{runner.iter}_of_{get_rank()}.pt'
        torch.save(drawn, Path(runner.work_dir) / name)


def batches(work_dir: Path, iteration: int) -> Counter:
    files = work_dir.glob(f'batch_{iteration}_of_*.pt')
    return Counter(sample for path in files for sample in torch.load(path))


def divided(runs: Runs, work_dir: Path, sampler: str, resume: bool) -> None:
    """Train three iterations, with two images per process unless the run resumes in others."""
    runs.train(
        work_dir,
        {
            'train_dataloader.sampler.type': sampler,
            'custom_hooks': [dict(type='RecordBatches')],
            'randomness.seed': 5,
            'log_level': 'INFO',
        },
        resume=resume,
        launcher='pytorch' if torch.distributed.is_initialized() else 'none',
    )


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'DefaultSampler'])
def test_other_processes_train_on_the_same_samples(sampler, runs, tmp_path):
    whole = tmp_path / 'whole'
    in_process_group(2, divided, runs, whole, sampler, False)
    # Two batches of four are an epoch of eight images.
    epoch = batches(whole, 0) + batches(whole, 1)
    assert sorted(name for name, _ in epoch.elements()) == [f'{i}.jpg' for i in range(8)]
    for processes, start in ((1, 1), (4, 2)):
        cut = tmp_path / f'in_{processes}'
        cut.mkdir()
        shutil.copy(whole / f'iter_{start}.pth', cut)
        (cut / 'last_checkpoint').write_text(str(cut / f'iter_{start}.pth'))
        in_process_group(processes, divided, runs, cut, sampler, True)
        for iteration in range(start, LENGTH):
            assert batches(cut, iteration) == batches(whole, iteration)
            files = list(cut.glob(f'batch_{iteration}_of_*.pt'))
            assert [len(torch.load(path)) for path in files] == [4 // processes] * processes
        log = next(cut.glob('*/*.log')).read_text()
        assert f'The run continues in {processes} process' in log
        assert 'multiplied by 0.25 for the batch of 4' in log


def test_processes_that_do_not_divide_the_batch_are_refused(runs, tmp_path):
    work_dir = tmp_path / 'whole'
    in_process_group(2, divided, runs, work_dir, 'InfiniteSampler', False)
    with pytest.raises(AssertionError) as refused:
        in_process_group(3, divided, runs, work_dir, 'InfiniteSampler', True)
    assert (
        'the batch changed from 2 in each of 2 processes (4 in all) to 2 in each of 3 processes '
        '(6 in all)'
    ) in str(refused.value)
    assert '--override batch_size' in str(refused.value)
