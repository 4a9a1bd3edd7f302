"""An interrupted run ends with the same bits as an uninterrupted one, on the CPU."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection
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
EACH = {
    'default_hooks.checkpoint.interval': 1,
    'default_hooks.checkpoint.max_keep_ckpts': -1,
}
OPTIONS = {'train_cfg.max_iters': ITERS, 'train_cfg.val_interval': 3, **EACH}


def last_checkpoint(work_dir: str | Path) -> dict[str, Any]:
    return CheckpointLoader.load_checkpoint(str(Path(work_dir) / f'iter_{ITERS}.pth'))


def logged(work_dir: str | Path) -> list[dict[str, Any]]:
    """Return all log lines of a run and its resumptions, without timings."""
    lines = [
        json.loads(line)
        for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()
    ]
    return [without_timings(line) for line in lines]


def train(cfg: Config, resume: bool = False, accepted: Collection[str] = ()) -> None:
    clear_toolbox_state()
    cfg.resume = resume
    # The random state before training must not matter.
    torch.rand(7 if resume else 3)
    np.random.rand(7 if resume else 3)
    run_training(cfg, accepted_changes=accepted)


def cut_short(work_dir: Path, iteration: int, into: Path) -> None:
    """Recreate the work dir of a run that was killed at an iteration."""
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
    'mixed precision on the CPU': (
        {'optim_wrapper.type': 'BFloat16OptimWrapper', 'randomness.seed': 3},
        (2,),
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
    """Represents a signal that ends the process at once."""


class KilledInValidation(Hook):
    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        raise _Killed


def test_interrupted_validation_is_repeated(tiny_config, tmp_path):
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
    """The parts named in the config suffice, as in ``mim train``."""
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


def edit_process_states(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = CheckpointLoader.load_checkpoint(str(path))
    for state in content['process_states']:
        change(state)
    torch.save(content, path)


OTHER_THREADS = {
    'same number': (lambda state: None, None),
    'another number': (
        lambda state: state.update(threads=3),
        'was written with 3 threads per process and the run resumes with 1, so its result '
        'will differ by rounding errors; set OMP_NUM_THREADS=3 to resume exactly.',
    ),
    'not recorded': (lambda state: state.pop('threads'), None),
}


@pytest.mark.parametrize('name', OTHER_THREADS)
def test_another_number_of_threads_is_warned_of(name, tiny_config):
    change, warning = OTHER_THREADS[name]
    torch.set_num_threads(1)
    cfg = tiny_config({'train_cfg.max_iters': 1, 'train_cfg.val_interval': 9, **EACH})
    train(cfg)
    path = Path(cfg.work_dir) / 'iter_1.pth'
    states = CheckpointLoader.load_checkpoint(str(path))['process_states']
    assert [state['threads'] for state in states] == [1]
    edit_process_states(path, change)
    cfg = tiny_config({'train_cfg.max_iters': 2, 'train_cfg.val_interval': 9, **EACH})
    train(cfg, resume=True, accepted={'length'})
    assert (Path(cfg.work_dir) / 'iter_2.pth').is_file()
    log = ' '.join(path.read_text() for path in Path(cfg.work_dir).glob('*/*.log'))
    assert ('OMP_NUM_THREADS=' in log) == (warning is not None)
    assert warning is None or warning in ' '.join(log.split())


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
    assert f'training resumes from the one before it, {before}' in log

    # If none is intact, the error says so and the files are kept.
    for path in (tmp_path / 'killed').glob('iter_*.pth'):
        path.write_bytes(DAMAGE['flipped bit'](path.read_bytes()))
    with pytest.raises(UserError, match=r'iter_6\.pth is damaged.*no intact checkpoint before it'):
        train(tiny_config(OPTIONS, 'killed'), resume=True)
    assert last.is_file()


def test_resume_follows_a_folder_that_was_moved(tmp_path):
    assert find_resumable(tmp_path, print) is None
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/iter_4.pth')
    torch.save({}, tmp_path / 'iter_4.pth')
    assert find_resumable(tmp_path, print) == str(tmp_path / 'iter_4.pth')
    # A kill of the toolbox's own writer leaves an empty file.
    (tmp_path / 'last_checkpoint').write_text('')
    assert find_resumable(tmp_path, print) is None
