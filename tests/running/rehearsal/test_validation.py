"""What the first validation would stumble over is refused before the first iteration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS, MODELS
from PIL import Image
from same_to_the_bit import assert_same
from tiny_setup import ROOT, SHRUNK
from toolbox_state import clear_toolbox_state

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.running.hooks.rehearsal_hook import RehearsalHook
from mmseg_encnet.running.processes import run_test, run_training
from mmseg_encnet.running.runner import EncNetRunner


@DATASETS.register_module()
class DatasetWithoutNames(BaseSegDataset):
    """A data set class whose author forgot the class names."""


def without_labels(cfg) -> None:
    for split in ('val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.pipeline = [step for step in dataset.pipeline if step['type'] != 'LoadAnnotations']


def without_names(cfg) -> None:
    for part, folder in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        dataset = cfg[f'{part}_dataloader'].dataset
        dataset.update(
            type='DatasetWithoutNames',
            reduce_zero_label=False,
            data_prefix=dict(img_path=f'images/{folder}', seg_map_path=f'labels/{folder}'),
        )


def monitoring(**hook):
    def change(cfg) -> None:
        cfg.custom_hooks = [dict(type='EarlyStoppingHook', **hook)]

    return change


FSCORE = {'val_evaluator': [dict(type='IoUMetric', iou_metrics=['mFscore'])]}
SLIDE = {'model.test_cfg._delete_': True, 'model.test_cfg.mode': 'slide'}
# Options, a change to the config, and a part of the message.
MISTAKES = {
    'images of different sizes': (
        {'val_dataloader.batch_size': 2},
        None,
        'images of one val batch must have the same size, got 64x50 (0.jpg) and 50x64 (1.jpg) '
        '(height x width); set val_dataloader.batch_size=1, or resize or pad them to one size in '
        'the pipeline.',
    ),
    'no class names': (
        {},
        without_names,
        'DatasetWithoutNames of val_dataloader has no class names, which the evaluation needs',
    ),
    'no labels': (
        {},
        without_labels,
        'the pipeline of val_dataloader yields no labels, which the evaluation needs; add '
        "dict(type='LoadAnnotations')",
    ),
    'windows without size': (SLIDE, None, "model.test_cfg.mode='slide' needs crop_size"),
    'windows without stride': (
        {**SLIDE, 'model.test_cfg.crop_size': (48, 48)},
        None,
        "model.test_cfg.mode='slide' needs stride",
    ),
    'gaps between windows': (
        {**SLIDE, 'model.test_cfg.crop_size': (24, 24), 'model.test_cfg.stride': (24, 30)},
        None,
        'got model.test_cfg.stride=(24, 30) for windows of crop_size=(24, 24), which leaves pixels '
        'between the windows',
    ),
    'windows without size, in the segmentor of the toolbox': (
        {**SLIDE, 'model.type': 'EncoderDecoder'},
        None,
        "model.test_cfg.mode='slide' needs crop_size",
    ),
    'unknown mode': ({'model.test_cfg.mode': 'slid'}, None, "must be 'whole' or 'slide', got"),
    'best of something else': (
        FSCORE,
        None,
        "got save_best='mIoU' of ResumableCheckpointHook, but the validation measures aAcc, "
        'mFscore, mPrecision, mRecall; choose one of these, or change val_evaluator.',
    ),
    'best with another prefix': (
        {'val_evaluator': [dict(type='IoUMetric', iou_metrics=['mIoU'], prefix='val')]},
        None,
        'measures val/aAcc, val/mIoU, val/mAcc',
    ),
    'best whose rule is unknown': (
        {'default_hooks.checkpoint.save_best': 'mFscore'},
        None,
        "got save_best='mFscore', but it is unknown whether a larger mFscore is better; set "
        "default_hooks.checkpoint.rule='greater' or rule='less'.",
    ),
    'stops by something else': (
        {},
        monitoring(monitor='mDice'),
        "got monitor='mDice' of ResumableEarlyStoppingHook, but the validation measures aAcc, "
        'mIoU, mAcc',
    ),
    'slows down by something else': (
        {'param_scheduler': [dict(type='ReduceOnPlateauLR', monitor='loss', by_epoch=True)]},
        None,
        "got monitor='loss' of ReduceOnPlateauLR, but the validation measures",
    ),
    'unknown metric': (
        {'val_evaluator': [dict(type='IoUMetric', iou_metrics=['mIuO'])]},
        None,
        'IoUMetric of val_evaluator cannot be computed (KeyError: "metrics',
    ),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_mistakes_are_refused_before_training(name, tiny_config, tmp_path):
    options, change, words = MISTAKES[name]
    cfg = tiny_config(options)
    if change:
        change(cfg)
    with pytest.raises(UserError) as refused:
        run_training(cfg)
    assert words in str(refused.value)
    assert not list((tmp_path / 'work').rglob('scalars.json'))


TESTS = {
    'images of different sizes': (
        {'test_dataloader.batch_size': 2},
        None,
        'images of one test batch must have the same size, got 64x50 (0.jpg) and 50x64 (1.jpg)',
    ),
    'no class names': ({}, without_names, 'DatasetWithoutNames of test_dataloader has no class'),
    'no labels': ({}, without_labels, 'the pipeline of test_dataloader yields no labels'),
}


@pytest.mark.parametrize('name', TESTS)
def test_mistakes_of_a_test_end_in_one_sentence(name, tiny_config, tmp_path):
    options, change, words = TESTS[name]
    cfg = tiny_config(options)
    if change:
        change(cfg)
    init_default_scope('mmseg')
    weights = MODELS.build(tiny_config().model).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'weights.pth')
    with pytest.raises(UserError) as refused:
        run_test(cfg, str(tmp_path / 'weights.pth'))
    assert words in str(refused.value)


class Stopped(BaseException):
    """Ends a run before its first iteration."""


class StopHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        raise Stopped


def reaches_training(cfg) -> None:
    runner = EncNetRunner.from_cfg(cfg)
    runner.register_hook(StopHook())
    with pytest.raises(Stopped):
        runner.train()


ALLOWED = {
    'images resized to one size': {
        'val_dataloader.batch_size': 2,
        'val_dataloader.dataset.pipeline.Resize.keep_ratio': False,
    },
    'the first metric is the best': {'default_hooks.checkpoint.save_best': 'auto'},
    'a metric with a rule': {
        **FSCORE,
        'default_hooks.checkpoint.save_best': 'mFscore',
        'default_hooks.checkpoint.rule': 'greater',
    },
    'no validation': {'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None},
    'predictions are only written': {
        'val_evaluator': [dict(type='IoUMetric', format_only=True, output_dir='predictions')],
        'default_hooks.checkpoint.save_best': None,
    },
}


@pytest.mark.parametrize('name', ALLOWED)
def test_what_works_is_not_refused(name, tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reaches_training(tiny_config(ALLOWED[name]))
    # IoUMetric makes the folder when it is built.
    assert not list(tmp_path.glob('predictions/*'))


NOTHING = {
    'no validation': (
        {'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None},
        'the config has no validation; set val_cfg, val_dataloader and val_evaluator',
    ),
    'validation too late': (
        {'train_cfg.val_begin': 3},
        'training ends before train_cfg.val_begin=3; reduce it',
    ),
}


@pytest.mark.parametrize('name', NOTHING)
def test_a_monitor_without_validation_is_named(name, tiny_config, tmp_path):
    options, reason = NOTHING[name]
    cfg = tiny_config(options)
    monitoring(monitor='mDice')(cfg)
    reaches_training(cfg)
    log = ' '.join(next((tmp_path / 'work').glob('*/*.log')).read_text().split())
    assert (
        f"save_best='mIoU' of ResumableCheckpointHook has no effect, because {reason}, or set "
        'save_best=None.'
    ) in log
    assert f"monitor='mDice' of ResumableEarlyStoppingHook has no effect, because {reason}" in log


def test_later_batches_are_checked(tiny_config, tiny_data):
    for folder, suffix in (('images', 'jpg'), ('labels', 'png')):
        for index in range(6):
            size = (72, 56) if index < 5 else (56, 72)
            Image.fromarray(np.zeros(size, np.uint8)).convert(
                'RGB' if folder == 'images' else 'L'
            ).save(tiny_data / folder / 'val' / f'{index}.{suffix}')
    with pytest.raises(UserError, match=r'\(4\.jpg\) and 50x64 \(5\.jpg\)'):
        run_training(tiny_config({'val_dataloader.batch_size': 2}))


def test_the_rehearsal_changes_nothing(tiny_config, monkeypatch, tmp_path):
    """Weights, running statistics and random numbers are the same without it."""
    ends = []
    for rehearses in (True, False):
        if not rehearses:
            monkeypatch.setattr(RehearsalHook, 'before_train', lambda self, runner: None)
        clear_toolbox_state()
        cfg = tiny_config({'randomness.seed': 7}, f'work_{rehearses}')
        run_training(cfg)
        ends.append(CheckpointLoader.load_checkpoint(str(Path(cfg.work_dir) / 'iter_2.pth')))
    assert_same(*ends)


def pooled(config: str, tiny_data: Path, tmp_path: Path, options: dict):
    base = {key: value for key, value in SHRUNK.items() if 'num_codes' not in key}
    return load_config(
        str(ROOT / 'configs' / f'{config}_r18_msrc21.py'),
        {**base, 'model.decode_head.in_channels': 64, 'data_root': str(tiny_data), **options},
        str(tmp_path / 'work'),
    )


ALONE = {'train_dataloader.batch_size': 1}
LAST_ALONE = {'train_dataloader.batch_size': 3, 'train_dataloader.sampler.type': 'DefaultSampler'}
DROPPED = {**LAST_ALONE, 'train_dataloader.drop_last': True}
NORM = 'model.decode_head.norm_cfg'
NORMS = {
    'one image': ('pspnet', ALONE, 'set train_dataloader.batch_size to at least 2'),
    'one image, DeepLabV3': ('deeplabv3', ALONE, 'set train_dataloader.batch_size to at least 2'),
    'one image in the last batch': ('pspnet', LAST_ALONE, 'set train_dataloader.drop_last=True'),
    'last batch left out': ('pspnet', DROPPED, None),
    'two images': ('pspnet', {}, None),
    'instance norm': (
        'pspnet',
        {NORM: dict(_delete_=True, type='IN')},
        'use another norm_cfg, such as BN or GN',
    ),
    'group norm, one channel in a group': (
        'pspnet',
        {**ALONE, NORM: dict(_delete_=True, type='GN', num_groups=16)},
        'set train_dataloader.batch_size to at least 2',
    ),
    'group norm': (
        'pspnet',
        {**ALONE, NORM: dict(_delete_=True, type='GN', num_groups=4)},
        None,
    ),
}


@pytest.mark.parametrize('name', NORMS)
def test_norms_of_a_single_value_are_refused(name, tiny_data, tmp_path):
    config, options, words = NORMS[name]
    cfg = pooled(config, tiny_data, tmp_path, options)
    if words is None:
        reaches_training(cfg)
        return
    with pytest.raises(UserError) as refused:
        run_training(cfg)
    message = str(refused.value)
    assert 'would normalise a single value' in message and message.endswith(f'{words}.')
    assert 'decode_head.' in message
    assert torch.is_grad_enabled()
