"""Training, testing and resuming through the functions that the tools call."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from PIL import Image

from mmseg_encnet.configuration import switches
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.configuration.switches import (
    draw_predictions,
    save_predictions,
    use_mixed_precision,
    use_test_time_augmentation,
)
from mmseg_encnet.errors import UserError
from mmseg_encnet.resuming.find import resume_training
from mmseg_encnet.running.processes import run_test, run_training, start_process_group


def checkpoints(cfg: Config) -> set[str]:
    return {path.name for path in Path(cfg.work_dir).glob('*.pth')}


def logged(cfg: Config) -> list[dict]:
    lines = [
        line
        for path in sorted(Path(cfg.work_dir).glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()
    ]
    return [json.loads(line) for line in lines]


def test_train_resume_and_test(tiny_config, tmp_path):
    cfg = tiny_config()
    run_training(cfg)
    assert checkpoints(cfg) == {'iter_2.pth', 'best_mIoU_iter_2.pth'}
    # Under its original name, it would be a second file of that name in an editable install.
    assert {path.name for path in Path(cfg.work_dir).glob('*.py')} == {'config.py'}
    assert Config.fromfile(Path(cfg.work_dir) / 'config.py').model == cfg.model
    train_lines = [line for line in logged(cfg) if 'decode.loss_se' in line]
    assert len(train_lines) == 2
    assert {'aux.loss_ce', 'decode.loss_ce', 'lr'} <= set(train_lines[0])

    # The best mIoU so far is a numpy scalar in the checkpoint; resuming reads it back. Weights are
    # not initialised before: this pretrained file does not exist.
    cfg = tiny_config(
        {
            'train_cfg.max_iters': 4,
            'model.backbone.init_cfg.type': 'Pretrained',
            'model.backbone.init_cfg.checkpoint': 'nowhere.pth',
        }
    )
    cfg.resume = True
    run_training(cfg, accepted_changes={'length'})
    assert {'iter_2.pth', 'iter_4.pth'} <= checkpoints(cfg)
    assert [line['iter'] for line in logged(cfg) if 'decode.loss_se' in line] == [1, 2, 3, 4]

    cfg = tiny_config(work_dir='test')
    save_predictions(cfg, str(tmp_path / 'out'))
    draw_predictions(cfg, str(tmp_path / 'show'))
    metrics = run_test(cfg, str(tmp_path / 'work' / 'iter_4.pth'))
    assert 0 <= metrics['mIoU'] <= metrics['aAcc'] <= 100
    predictions = sorted((tmp_path / 'out').glob('*.png'))
    assert [path.name for path in predictions] == ['0.png', '1.png']
    for index, path in enumerate(predictions):
        labels = np.array(Image.open(path))
        assert labels.shape == ((56, 72) if index % 2 else (72, 56))
        assert labels.max() < 21
    assert len(list((tmp_path / 'show').rglob('*.png'))) == 2

    cfg = tiny_config(work_dir='tta')
    cfg.tta_pipeline[1].transforms[0] = [
        dict(type='Resize', scale=(size, size), keep_ratio=True) for size in (48, 64)
    ]
    use_test_time_augmentation(cfg)
    metrics = run_test(cfg, str(tmp_path / 'work' / 'iter_4.pth'))
    assert 0 <= metrics['mIoU'] <= 100


@pytest.mark.parametrize(
    'load_from, interrupted, expected',
    [
        (None, False, (True, None)),
        (None, True, (True, None)),
        # The initial weights of a stage are not its last checkpoint.
        ('stage_before.pth', False, (False, 'stage_before.pth')),
        ('stage_before.pth', True, (True, None)),
    ],
)
def test_resuming_regards_the_work_dir_alone(load_from, interrupted, expected, tiny_config):
    cfg = tiny_config({'load_from': load_from})
    if interrupted:
        Path(cfg.work_dir).mkdir()
        (Path(cfg.work_dir) / 'last_checkpoint').write_text('iter_2.pth')
    resume_training(cfg)
    assert (cfg.resume, cfg.load_from) == expected


def test_the_same_seed_trains_the_same_network(tiny_config):
    states = []
    for work_dir in ('one', 'two'):
        cfg = tiny_config(
            {'randomness.seed': 3, 'randomness.deterministic': True}, work_dir=work_dir
        )
        run_training(cfg)
        content = CheckpointLoader.load_checkpoint(f'{cfg.work_dir}/iter_2.pth')
        states.append(content['state_dict'])
    torch.use_deterministic_algorithms(False)
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_training_starts_from_weights_of_a_network_without_auxiliary_head(tiny_config, tmp_path):
    cfg = tiny_config()
    run_training(cfg)
    content = CheckpointLoader.load_checkpoint(str(tmp_path / 'work' / 'iter_2.pth'))
    weights = {
        f'module.{key}': value
        for key, value in content['state_dict'].items()
        if not key.startswith('auxiliary_head')
    }
    torch.save(weights, tmp_path / 'weights.pth')
    cfg = tiny_config({'load_from': str(tmp_path / 'weights.pth')}, work_dir='from')
    run_training(cfg)
    assert 'iter_2.pth' in checkpoints(cfg)
    run_test(tiny_config(work_dir='test'), str(tmp_path / 'weights.pth'))


@pytest.fixture
def machine(monkeypatch):
    """Pretend that a GPU or instructions for bfloat16 are available."""

    def pretend(gpu: bool, bfloat16: bool) -> None:
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
        monkeypatch.setattr(switches, 'computes_in_bfloat16', lambda: bfloat16)

    return pretend


def test_mixed_precision_on_a_gpu(tiny_config, machine):
    cfg = tiny_config()
    machine(gpu=True, bfloat16=False)
    use_mixed_precision(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'


@pytest.mark.parametrize('dtype', [None, 'bfloat16', torch.bfloat16])
def test_mixed_precision_on_the_cpu(tiny_config, machine, dtype):
    machine(gpu=False, bfloat16=True)
    cfg = tiny_config()
    cfg.optim_wrapper.update(loss_scale='dynamic')
    if dtype is not None:
        cfg.optim_wrapper.dtype = dtype
    use_mixed_precision(cfg)
    assert cfg.optim_wrapper.type == 'mmengine.BFloat16OptimWrapper'
    assert not {'dtype', 'loss_scale'} & cfg.optim_wrapper.keys()


@pytest.mark.parametrize(
    'bfloat16, dtype, message',
    [(False, 'bfloat16', r'--amp.*bfloat16.*GPU'), (True, 'float16', r"dtype='float16'.*GPU")],
)
def test_mixed_precision_is_refused(tiny_config, machine, bfloat16, dtype, message):
    machine(gpu=False, bfloat16=bfloat16)
    cfg = tiny_config()
    cfg.optim_wrapper.dtype = dtype
    with pytest.raises(UserError, match=message):
        use_mixed_precision(cfg)


def test_training_in_bfloat16(tiny_config, machine):
    """Weights stay in single precision and are close to those of single precision."""
    machine(gpu=False, bfloat16=True)
    weights = []
    for name in ('single', 'bfloat16'):
        cfg = tiny_config({'randomness.seed': 0}, work_dir=name)
        if name == 'bfloat16':
            use_mixed_precision(cfg)
        run_training(cfg)
        content = CheckpointLoader.load_checkpoint(str(Path(cfg.work_dir) / 'iter_2.pth'))
        weights.append(content['state_dict'])
    single, half = weights
    assert all(half[key].dtype == value.dtype for key, value in single.items())
    assert any(not torch.equal(half[key], value) for key, value in single.items())
    for key, value in single.items():
        torch.testing.assert_close(half[key], value, rtol=0.05, atol=0.05)


@pytest.mark.skipif(torch.cuda.is_available(), reason='for machines without a GPU')
def test_other_launchers_need_a_gpu():
    with pytest.raises(UserError, match=r'slurm.*dist_train\.sh'):
        start_process_group('slurm')


def test_tta_needs_a_pipeline(tiny_config):
    cfg = tiny_config()
    cfg.pop('tta_pipeline')
    with pytest.raises(UserError, match='tta_pipeline'):
        use_test_time_augmentation(cfg)


def test_load_config_by_name_and_work_dir(tiny_options):
    cfg = load_config('encnet_r18_msrc21', tiny_options)
    assert cfg.work_dir == os.path.join('work_dirs', 'encnet_r18_msrc21')  # noqa: PTH118
    assert load_config('encnet_r18_msrc21.py', {'work_dir': 'here'}).work_dir == 'here'
    assert load_config('encnet_r18_msrc21', {'work_dir': 'a'}, 'b').work_dir == 'b'


def test_one_data_root_moves_every_split(tiny_options):
    cfg = load_config('encnet_r18_msrc21', tiny_options)
    roots = {cfg[f'{split}_dataloader'].dataset.data_root for split in ('train', 'val', 'test')}
    assert roots == {tiny_options['data_root']} == {cfg.data_root}


def test_options_reach_into_an_empty_entry():
    cfg = load_config(
        'encnet_r18_msrc21',
        {
            'model.backbone.init_cfg.type': 'Pretrained',
            'model.backbone.init_cfg.checkpoint': 'FILE',
        },
    )
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint='FILE')
    cfg = load_config(
        'encnet_r50_pcontext', {'model.test_cfg.mode': 'whole', 'model.test_cfg._delete_': True}
    )
    assert cfg.model.test_cfg == dict(mode='whole')
