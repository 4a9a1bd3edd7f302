"""Every loop with every sampler and hook trains and resumes exactly, or is refused at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import mmengine.runner.loops
import pytest
from mmengine.hooks import Hook
from mmengine.registry import LOOPS
from mmengine.runner import CheckpointLoader
from same_to_the_bit import assert_same
from toolbox_state import clear_toolbox_state

from mmseg_encnet.errors import UserError
from mmseg_encnet.running.processes import run_training
from mmseg_encnet.running.runner import EncNetRunner

ITERATIONS = {
    'train_cfg.max_iters': 4,
    'train_cfg.val_interval': 2,
    'default_hooks.checkpoint.interval': 1,
    'default_hooks.checkpoint.max_keep_ckpts': -1,
}
EPOCHS = {
    'train_cfg': dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=1, _delete_=True),
    'default_hooks.checkpoint.interval': 1,
    'default_hooks.checkpoint.by_epoch': True,
    'default_hooks.checkpoint.max_keep_ckpts': -1,
}
WORKER = {'train_dataloader.num_workers': 1, 'train_dataloader.persistent_workers': True}
HOOKS = [
    dict(type='CodebookInitHook', num_images=2),
    dict(type='DictionaryHealthHook', interval=1),
    dict(type='EMAHook'),
    dict(type='EarlyStoppingHook', monitor='mIoU', patience=9),
]


def sampler(kind: str) -> dict:
    return {'train_dataloader.sampler': dict(_delete_=True, type=kind, shuffle=True)}


# Options, the last checkpoint, and the one from which to resume. Two batches are an epoch.
FITTING = {
    'iterations, DefaultSampler': ({**ITERATIONS, **sampler('DefaultSampler')}, 'iter_4.pth', 2),
    'iterations, DefaultSampler, a worker': (
        {**ITERATIONS, **sampler('DefaultSampler'), **WORKER},
        'iter_4.pth',
        3,
    ),
    'iterations, hooks': ({**ITERATIONS, 'custom_hooks': HOOKS}, 'iter_4.pth', 2),
    'epochs, DefaultSampler': ({**EPOCHS, **sampler('DefaultSampler')}, 'epoch_3.pth', 1),
    'epochs, SeededDefaultSampler, a worker': (
        {**EPOCHS, **sampler('SeededDefaultSampler'), **WORKER},
        'epoch_3.pth',
        1,
    ),
    'epochs, hooks': (
        {
            **EPOCHS,
            'train_cfg': {**EPOCHS['train_cfg'], 'val_interval': 3},
            **sampler('DefaultSampler'),
            'custom_hooks': [*HOOKS, dict(type='ContextSheetHook', indices=1)],
        },
        'epoch_3.pth',
        1,
    ),
}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    """Skip the toolbox's pause of two seconds before a data loader restarts."""
    monkeypatch.setattr(mmengine.runner.loops.time, 'sleep', lambda seconds: None)


def configured(tiny_config, options: dict, work_dir: str):
    options = dict(options)
    loop = options.pop('train_cfg', None)
    cfg = tiny_config(options, work_dir)
    if loop:
        cfg.train_cfg = {key: value for key, value in loop.items() if key != '_delete_'}
    return cfg


@pytest.mark.parametrize('name', FITTING)
def test_fitting_combinations_resume_exactly(name, tiny_config, tmp_path):
    options, last, step = FITTING[name]
    options = {**options, 'randomness.seed': 4}
    run_training(configured(tiny_config, options, 'whole'))
    whole = CheckpointLoader.load_checkpoint(str(tmp_path / 'whole' / last))
    clear_toolbox_state()
    cfg = configured(tiny_config, options, 'resumed')
    between = last.rpartition('_')[0] + f'_{step}.pth'
    (tmp_path / 'resumed').mkdir()
    shutil.copy(tmp_path / 'whole' / between, tmp_path / 'resumed')
    (tmp_path / 'resumed' / 'last_checkpoint').write_text(str(tmp_path / 'resumed' / between))
    cfg.resume = True
    run_training(cfg)
    assert_same(CheckpointLoader.load_checkpoint(str(tmp_path / 'resumed' / last)), whole)


class KilledError(BaseException):
    """Represents a signal that ends the process at once."""


class KilledInValidation(Hook):
    """Ends the process in one of its validations."""

    def __init__(self, validation: int) -> None:
        self.left = validation

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.left -= batch_idx == 0
        if not self.left:
            raise KilledError


# No iteration follows the last epoch.
@pytest.mark.parametrize('epoch', [1, 3])
def test_an_interrupted_validation_of_an_epoch_is_repeated(epoch, tiny_config, tmp_path):
    """The first checkpoint of an epoch does not contain the result of its validation."""
    options = {**EPOCHS, **sampler('DefaultSampler'), 'randomness.seed': 4}
    run_training(configured(tiny_config, options, 'whole'))
    clear_toolbox_state()
    runner = EncNetRunner.from_cfg(configured(tiny_config, options, 'killed'))
    runner.register_hook(KilledInValidation(epoch))
    with pytest.raises(KilledError):
        runner.train()
    clear_toolbox_state()
    cfg = configured(tiny_config, options, 'killed')
    cfg.resume = True
    run_training(cfg)
    one, other = (
        CheckpointLoader.load_checkpoint(str(tmp_path / work_dir / 'epoch_3.pth'))
        for work_dir in ('whole', 'killed')
    )
    assert_same(one, other)


REFUSED = {
    'epochs without end': (
        {**EPOCHS, **sampler('InfiniteSampler')},
        'EpochBasedTrainLoop needs epochs that end, and checkpoints between them; set '
        'train_dataloader.sampler.type=DefaultSampler, or use IterBasedTrainLoop.',
    ),
    'epochs without end, seeded': (
        {**EPOCHS, **sampler('SeededInfiniteSampler'), 'default_hooks.checkpoint.by_epoch': False},
        'EpochBasedTrainLoop needs epochs that end, and checkpoints between them; set '
        'train_dataloader.sampler.type=DefaultSampler and default_hooks.checkpoint.by_epoch=True, '
        'or use IterBasedTrainLoop.',
    ),
    'checkpoints within epochs': (
        {**EPOCHS, **sampler('DefaultSampler'), 'default_hooks.checkpoint.by_epoch': False},
        'set default_hooks.checkpoint.by_epoch=True',
    ),
    'a schedule of epochs without epochs': (
        {'param_scheduler': [dict(type='PolyLR')], 'default_hooks.checkpoint.by_epoch': True},
        'IterBasedTrainLoop has no epochs at whose end a scheduler or checkpoint hook could act; '
        'set param_scheduler.0.by_epoch=False and default_hooks.checkpoint.by_epoch=False, or use '
        'EpochBasedTrainLoop with train_dataloader.sampler.type=DefaultSampler.',
    ),
    'endless validation': (
        {'val_dataloader.sampler.type': 'InfiniteSampler'},
        'val_dataloader has an InfiniteSampler, so an evaluation would never end; set '
        'val_dataloader.sampler.type=DefaultSampler.',
    ),
    'a test as validation': (
        {'val_cfg.type': 'TestLoop'},
        'got val_cfg.type=TestLoop, which does not call the hooks of ValLoop; use ValLoop.',
    ),
    'no iteration': (
        {'train_cfg.max_iters': 0},
        'train_cfg.max_iters must be a positive integer, got 0.',
    ),
    'no epoch': (
        {'train_cfg': dict(type='EpochBasedTrainLoop', max_epochs=0)},
        'train_cfg.max_epochs must be a positive integer, got 0.',
    ),
    'validation never': (
        {'train_cfg.val_interval': 0},
        'train_cfg.val_interval must be a positive integer, got 0.',
    ),
    'validation never, as in other toolboxes': (
        {'train_cfg.val_interval': -1},
        'train_cfg.val_interval must be a positive integer, got -1.',
    ),
    'no batch': (
        {
            **sampler('DefaultSampler'),
            'train_dataloader.batch_size': 5,
            'train_dataloader.drop_last': True,
        },
        'train_dataloader has no batch: got 4 images for batch_size=5 with drop_last=True; reduce '
        'the batch size or set drop_last=False.',
    ),
    'warm-up longer than the run': (
        {
            'param_scheduler': [
                dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=5),
                dict(type='PolyLR', by_epoch=False, begin=5),
            ]
        },
        'param_scheduler.1 (PolyLR) begins at iteration 5, expected a value below 2, where '
        'training ends; shorten the warm-up before it, or train longer.',
    ),
    'schedule that ends before it begins': (
        {'param_scheduler': dict(_delete_=True, type='PolyLR', by_epoch=False, begin=5, end=4)},
        'param_scheduler.0 (PolyLR) begins at iteration 5, expected a value below 4, its end',
    ),
    'scaling without a base': (
        {'auto_scale_lr': dict(_delete_=True, enable=True)},
        'base_batch_size',
    ),
}


@pytest.mark.parametrize('name', REFUSED)
def test_other_combinations_are_refused_before_training(name, tiny_config, tmp_path):
    options, words = REFUSED[name]
    with pytest.raises(UserError) as refused:
        run_training(configured(tiny_config, options, 'work'))
    message = str(refused.value)
    assert message.endswith(words) if words.endswith('.') else words in message
    assert not list((tmp_path / 'work').rglob('scalars.json'))


def test_a_warm_up_that_does_not_end_is_named(tiny_config, tmp_path):
    warm_up = dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=5)
    run_training(configured(tiny_config, {'param_scheduler': [warm_up]}, 'work'))
    log = ' '.join(next((tmp_path / 'work').glob('*/*.log')).read_text().split())
    assert (
        'param_scheduler.0 (LinearLR) warms up until iteration 5, but training ends at 2: the lr '
        'never reaches its full value; shorten the warm-up or train longer.'
    ) in log


def test_the_table_has_all_loops_of_the_toolbox():
    assert set(LOOPS.module_dict) == {
        'EpochBasedTrainLoop',
        'IterBasedTrainLoop',
        'TestLoop',
        'ValLoop',
    }


def test_a_loss_that_is_not_finite_stops_an_epoch(tiny_config, tmp_path):
    options = {
        **EPOCHS,
        **sampler('DefaultSampler'),
        'optim_wrapper.optimizer.lr': 1e8,
        'randomness.seed': 0,
    }
    with pytest.raises(UserError, match=r'the loss became \w+ at iteration \d'):
        run_training(configured(tiny_config, options, 'work'))


def test_seed_and_scaling_are_logged(tiny_config, tmp_path):
    run_training(tiny_config({'randomness.seed': 5}))
    log = ' '.join(next((tmp_path / 'work').glob('*/*.log')).read_text().split())
    assert 'The seed of this run is 5; set randomness.seed=5 to repeat it.' in log
    assert (
        'auto_scale_lr is on: the learning rates of the config, which are for a batch of 16, are '
        'multiplied by 0.125 for the batch of 2; set auto_scale_lr.enable=False'
    ) in log
    assert Path(tmp_path / 'work' / 'iter_2.pth').is_file()
