"""A training that was interrupted ends as one that was not: to the bit, on the CPU."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import CheckpointLoader, Runner
from same_to_the_bit import assert_same, without_timings
from toolbox_state import clear_toolbox_state

from mmseg_encnet.errors import UserError
from mmseg_encnet.resuming.find import find_resumable
from mmseg_encnet.running.processes import run_training
from mmseg_encnet.running.runner import EncNetRunner

ITERS = 6
OPTIONS = {
    'train_cfg.max_iters': ITERS,
    'train_cfg.val_interval': 3,
    'default_hooks.checkpoint.interval': 1,
    'default_hooks.checkpoint.max_keep_ckpts': -1,
}


def last_checkpoint(work_dir: str | Path) -> dict[str, Any]:
    return CheckpointLoader.load_checkpoint(str(Path(work_dir) / f'iter_{ITERS}.pth'))


def logged(work_dir: str | Path) -> list[dict[str, Any]]:
    """All that a training wrote into its log, from each of its runs, without the times."""
    lines = [
        json.loads(line)
        for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()
    ]
    return [without_timings(line) for line in lines]


def train(cfg: Config, resume: bool = False) -> None:
    clear_toolbox_state()
    cfg.resume = resume
    # Whatever the process did before must not matter.
    torch.rand(7 if resume else 3)
    np.random.rand(7 if resume else 3)
    run_training(cfg)


def cut_short(work_dir: Path, iteration: int, into: Path) -> None:
    """Leave in a folder what a training had written at the moment it was killed."""
    into.mkdir(exist_ok=True)
    shutil.copy(work_dir / f'iter_{iteration}.pth', into)
    (into / 'last_checkpoint').write_text(str(into / f'iter_{iteration}.pth'))


WORKERS = {
    'train_dataloader.num_workers': 2,
    'train_dataloader.persistent_workers': True,
    'val_dataloader.num_workers': 1,
    'val_dataloader.persistent_workers': True,
}
SETTINGS = {
    'no workers, seed drawn': ({}, (1, 3)),
    'workers, seed given': ({**WORKERS, 'randomness.seed': 5}, (4,)),
    'accumulated gradients, AdamW, order of the data set': (
        {
            'optim_wrapper.accumulative_counts': 2,
            'train_dataloader.sampler.shuffle': False,
            'optim_wrapper.optimizer._delete_': True,
            'optim_wrapper.optimizer.type': 'AdamW',
            'optim_wrapper.optimizer.lr': 0.001,
        },
        (3,),
    ),
}


@pytest.mark.parametrize('name', SETTINGS)
def test_resumed_training_ends_as_the_uninterrupted(name, tiny_config, tmp_path):
    options, iterations = SETTINGS[name]
    options = {**OPTIONS, **options}
    cfg = tiny_config(options)
    train(cfg)
    whole, whole_log = last_checkpoint(cfg.work_dir), logged(cfg.work_dir)
    assert len(whole_log) == ITERS + ITERS // 3
    for iteration in iterations:
        work_dir = f'from_{iteration}'
        cut_short(Path(cfg.work_dir), iteration, tmp_path / work_dir)
        train(tiny_config(options, work_dir), resume=True)
        assert_same(last_checkpoint(tmp_path / work_dir), whole)
        resumed_log = logged(tmp_path / work_dir)
        assert resumed_log == whole_log[-len(resumed_log) :]
        assert len(resumed_log) == len(whole_log) - iteration - (iteration // 3)


class _Killed(BaseException):
    """Takes the place of a signal that ends the process at once."""


class KilledInValidation(Hook):
    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        raise _Killed


def test_interrupted_validation_is_made_up_for(tiny_config, tmp_path):
    cfg = tiny_config(OPTIONS)
    train(cfg)
    whole, whole_log = last_checkpoint(cfg.work_dir), logged(cfg.work_dir)
    options = {**OPTIONS, 'randomness.seed': whole['meta']['seed']}

    killed = tiny_config(options, 'killed')
    clear_toolbox_state()
    runner = EncNetRunner.from_cfg(killed)
    runner.register_hook(KilledInValidation())
    with pytest.raises(_Killed):
        runner.train()
    train(tiny_config(options, 'killed'), resume=True)
    assert_same(last_checkpoint(killed.work_dir), whole)
    assert logged(killed.work_dir) == whole_log


def test_the_toolboxs_own_runner_resumes_as_well(tiny_config, tmp_path):
    """What the config names does it, so ``mim train`` has it too."""
    options = {
        **OPTIONS,
        **WORKERS,
        'randomness.seed': 2,
        'train_dataloader.sampler.type': 'SeededInfiniteSampler',
    }
    for work_dir, resume in (('whole', False), ('cut', True)):
        cfg = tiny_config(options, work_dir)
        cfg.resume = resume
        clear_toolbox_state()
        if resume:
            cut_short(tmp_path / 'whole', 3, tmp_path / work_dir)
        Runner.from_cfg(cfg).train()
    assert_same(last_checkpoint(tmp_path / 'cut'), last_checkpoint(tmp_path / 'whole'))


def test_number_of_workers_changes_nothing(tiny_config):
    ends = []
    for workers in ({}, WORKERS):
        cfg = tiny_config({**OPTIONS, 'randomness.seed': 1, **workers}, f'{len(ends)}')
        train(cfg)
        ends.append(last_checkpoint(cfg.work_dir))
    for other in ends[1:]:
        assert_same(other, ends[0])


DAMAGE = {
    'truncated': lambda content: content[:1000],
    'empty': lambda content: b'',
    'no checkpoint': lambda content: b'hello' * 1000,
    'missing': None,
    'flipped bit': lambda content: flip(content, len(content) // 2),
}


def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_resume_past_a_damaged_checkpoint(tiny_config, tmp_path):
    cfg = tiny_config(OPTIONS)
    train(cfg)
    whole = last_checkpoint(cfg.work_dir)
    for iteration in (1, 2, 3):
        cut_short(Path(cfg.work_dir), iteration, tmp_path / 'killed')
    last, before = (tmp_path / 'killed' / f'iter_{iteration}.pth' for iteration in (3, 2))
    content = last.read_bytes()
    for name, damage in DAMAGE.items():
        last.unlink(missing_ok=True)
        if damage is not None:
            last.write_bytes(damage(content))
        warnings: list[str] = []
        assert find_resumable(tmp_path / 'killed', warnings.append) == str(before), name
        assert len(warnings) == 1 and str(last) in warnings[0] and str(before) in warnings[0]

    train(tiny_config(OPTIONS, 'killed'), resume=True)
    assert_same(last_checkpoint(tmp_path / 'killed'), whole)
    log = next((tmp_path / 'killed').glob('*/*.log')).read_text()
    assert f'from the checkpoint before it, {before}' in log

    # Nothing whole is left: the sentence says so, and what was there is kept.
    for path in (tmp_path / 'killed').glob('iter_*.pth'):
        path.write_bytes(DAMAGE['flipped bit'](path.read_bytes()))
    with pytest.raises(UserError, match=r'iter_6\.pth is damaged.*no whole checkpoint before it'):
        train(tiny_config(OPTIONS, 'killed'), resume=True)
    assert last.is_file()


def test_resume_follows_a_folder_that_was_moved(tmp_path):
    assert find_resumable(tmp_path, print) is None
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/iter_4.pth')
    torch.save({}, tmp_path / 'iter_4.pth')
    assert find_resumable(tmp_path, print) == str(tmp_path / 'iter_4.pth')
    # As a process killed by the toolbox's own way of writing leaves it.
    (tmp_path / 'last_checkpoint').write_text('')
    assert find_resumable(tmp_path, print) is None
