"""A changed run is refused in one sentence, which names the option that accepts the change."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from mmengine.config import Config
from stopped_runs import EPOCHS

from mmseg_encnet.errors import UserError

SGD = 'optim_wrapper.optimizer'
PIPELINE = 'train_dataloader.dataset.pipeline'


def wrapped(kind: str, **arguments: Any) -> Callable[[Config], Any]:
    """Return a change of a config that wraps its training set."""

    def change(cfg: Config) -> None:
        part = cfg.train_dataloader.dataset
        inside = dict(datasets=[part]) if kind == 'ConcatDataset' else dict(dataset=part)
        cfg.train_dataloader.dataset = dict(type=kind, **inside, **arguments)

    return change


def inserted(cfg: Config) -> None:
    cfg.train_dataloader.dataset.pipeline.insert(
        3, dict(type='RandomCutOut', prob=0, n_holes=1, cutout_shape=(4, 4))
    )


def averaging(cfg: Config) -> None:
    cfg.custom_hooks = [dict(type='EMAHook')]


def twice(cfg: Config) -> None:
    part = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[part, copy.deepcopy(part)])


PLATEAU = {**EPOCHS, 'train_cfg': {**EPOCHS['train_cfg'], 'val_interval': 1}}


def plateau(cfg: Config) -> None:
    cfg.param_scheduler = [dict(type='ReduceOnPlateauLR', monitor='mIoU', rule='greater')]


# Options or a change of the config, what the message says, and what accepts the change.
CHANGES: dict[str, tuple[dict[str, Any] | Callable, str, str]] = {
    'learning rate': (
        {f'{SGD}.lr': 0.001},
        'optim_wrapper.optimizer.lr changed from 0.01 to 0.001',
        'lr',
    ),
    'scaling': (
        {'auto_scale_lr.enable': False},
        'base_batch_size changed from 16 to nothing',
        'lr',
    ),
    'momentum': (
        {f'{SGD}.momentum': 0.5},
        'optimizer.momentum changed from 0.9 to 0.5',
        'momentum',
    ),
    'weight decay': (
        {f'{SGD}.weight_decay': 0.0},
        'weight_decay changed from 0.0001 to 0.0',
        'weight_decay',
    ),
    'optimiser': (
        {SGD: dict(_delete_=True, type='AdamW', lr=0.01)},
        'optimizer.type changed from SGD to AdamW',
        'optimizer',
    ),
    'rates of parts': (
        {'optim_wrapper.paramwise_cfg.custom_keys.decode_head.lr_mult': 1.0},
        'lr_mult changed from 10.0 to 1.0',
        'paramwise',
    ),
    'no rates of parts': (
        {'optim_wrapper.paramwise_cfg': None},
        'paramwise_cfg.custom_keys.auxiliary_head.lr_mult changed from 10.0 to nothing',
        'paramwise',
    ),
    'clipping': (
        {'optim_wrapper.clip_grad': dict(max_norm=1)},
        'clip_grad.max_norm changed from nothing to 1',
        'clip_grad',
    ),
    'accumulation': (
        {'optim_wrapper.accumulative_counts': 2},
        'accumulative_counts changed from nothing to 2',
        'accumulation',
    ),
    'schedule': ({'param_scheduler.0.power': 2.0}, 'power changed from 0.9 to 2.0', 'schedule'),
    'no schedule': (
        {'param_scheduler': None},
        'param_scheduler.0.type changed from PolyLR to nothing',
        'schedule',
    ),
    'batch size': (
        {'train_dataloader.batch_size': 3},
        'the batch changed from 2 in one process to 3 in one process',
        'batch_size',
    ),
    'order': (
        {'train_dataloader.sampler.shuffle': False},
        'sampler.shuffle changed from True to False',
        'sampler',
    ),
    'crop': (
        {f'{PIPELINE}.RandomCrop.crop_size': (40, 40)},
        'RandomCrop.crop_size changed from 48, 48 to 40, 40',
        'crop',
    ),
    'augmentation': (
        {f'{PIPELINE}.RandomFlip.prob': 0.0},
        'RandomFlip.prob changed from 0.5 to 0.0',
        'pipeline',
    ),
    'another step': (inserted, 'pipeline.steps changed from nothing to RandomCutOut', 'pipeline'),
    'repetition': (
        wrapped('RepeatDataset', times=2),
        'from MSRC21Dataset to RepeatDataset(times=2) of MSRC21Dataset',
        'data',
    ),
    'concatenation': (wrapped('ConcatDataset'), 'to ConcatDataset() of MSRC21Dataset', 'data'),
    'part of the images': (
        {'train_dataloader.dataset.indices': 2},
        'the training images (8, now 2) changed: 6 lost',
        'data',
    ),
    'other folder': (
        {
            'train_dataloader.dataset.data_prefix.img_path': 'images/val',
            'train_dataloader.dataset.data_prefix.seg_map_path': 'labels/val',
        },
        'the training images (8, now 2) changed: 6 lost',
        'data',
    ),
    'zero label': (
        {'train_dataloader.dataset.reduce_zero_label': True},
        'reduce_zero_label changed from False to True',
        'classes',
    ),
    'model': (
        {'model.decode_head.dropout_ratio': 0.5},
        'model.decode_head.dropout_ratio changed from',
        'model',
    ),
    'seed': ({'randomness.seed': 1}, 'randomness.seed changed from', 'seed'),
    'averaging': (averaging, 'it lacks the averaged weights of an EMAHook', 'ema'),
    'loop': (
        EPOCHS,
        'train_cfg.type changed from IterBasedTrainLoop to EpochBasedTrainLoop',
        'loop sampler schedule',
    ),
    'length': (
        {'train_cfg.max_iters': 4},
        'train_cfg.max_iters changed from 3 to 4',
        '--extend-to',
    ),
}


# A first config, the change of it, what the message says, and what accepts the change.
FROM_ANOTHER_RUN: dict[str, tuple[Callable, Callable, str, str]] = {
    'no averaging': (
        averaging,
        lambda cfg: None,
        'it holds the weights of an EMAHook, which the config lacks',
        'ema',
    ),
    'averaging as before': (averaging, averaging, '', ''),
    'rate that depends on a metric': (
        plateau,
        lambda cfg: (plateau(cfg), cfg.optim_wrapper.optimizer.update(lr=0.001)),
        'optimizer.lr changed from 0.01 to 0.001',
        'lr',
    ),
    'two folders': (
        lambda cfg: None,
        twice,
        '(8, now 16) changed: 16 gained (0.jpg with 0.png, 1.jpg with 1.png, ...)',
        'data',
    ),
}


@pytest.mark.parametrize('name', FROM_ANOTHER_RUN)
def test_a_change_from_another_config(name, runs, tmp_path):
    before, after, message, kinds = FROM_ANOTHER_RUN[name]
    options = PLATEAU if before is plateau else {}
    work_dir = tmp_path / 'work'
    runs.train(work_dir, options, resume=False, change=before)
    stem = 'epoch' if options else 'iter'
    (work_dir / 'last_checkpoint').write_text(str(work_dir / f'{stem}_2.pth'))
    if message:
        with pytest.raises(UserError) as refused:
            runs.train(work_dir, options, change=after)
        sentence = ' '.join(str(refused.value).split())
        assert message in sentence
        assert sentence.endswith(f'accept it with --override {kinds}.')
    runs.train(work_dir, options, override=kinds, change=after)


def applied(change: dict[str, Any] | Callable) -> dict[str, Any]:
    return dict(change=change) if callable(change) else dict(options=change)


@pytest.mark.parametrize('name', CHANGES)
def test_a_change_is_refused_and_can_be_accepted(name, runs, tmp_path):
    change, message, kinds = CHANGES[name]
    work_dir = runs.stopped(tmp_path / 'work')
    arguments = {'options': {}, **applied(change)}
    with pytest.raises(UserError) as refused:
        runs.train(work_dir, **arguments)
    sentence = ' '.join(str(refused.value).split())
    assert message in sentence
    assert 'iter_2.pth does not continue the same run: ' in sentence
    if name == 'length':
        assert sentence.endswith('accept it with --extend-to 4.')
        runs.train(work_dir, **arguments, extend_to=4)
    else:
        accepting = sentence.partition('accept it with --override ')[2].rstrip('.')
        assert set(accepting.split()) == set(kinds.split())
        runs.train(work_dir, **arguments, override=accepting)
    end = dict(loop='epoch_3.pth', length='iter_4.pth').get(name, 'iter_3.pth')
    assert (work_dir / end).is_file()
    if name in ('learning rate', 'repetition', 'length', 'loop'):
        # The change is recorded, so the run resumes with it from now on.
        runs.train(work_dir, **arguments)
