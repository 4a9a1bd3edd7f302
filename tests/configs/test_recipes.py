"""The configs against the values in the code of PyTorch-Encoding, release by release."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

from mmseg_encnet import RELEASES, config_file


class Value(NamedTuple):
    """A value in the original, and where it stands: commit, file and lines."""

    value: Any
    commit: str
    file: str
    lines: str


_SEG = 'experiments/segmentation'
ORIGINAL: dict[str, dict[str, Value]] = {
    'v0.5.0': {
        'epochs': Value(
            dict(coco21=30, cityscapes=180, voc12=50, voc12aug=50, pcontext=80, ade20k=120),
            'f891919',
            f'{_SEG}/option.py',
            '93-100',
        ),
        'lr': Value(
            dict(
                coco21=0.01,
                cityscapes=0.01,
                voc12=0.0001,
                voc12aug=0.001,
                pcontext=0.001,
                ade20k=0.01,
            ),
            'f891919',
            f'{_SEG}/option.py',
            '107-114',
        ),
        'base size': Value(520, 'f891919', f'{_SEG}/option.py', '28'),
        'crop size': Value(480, 'f891919', f'{_SEG}/option.py', '30'),
        'base and crop size, ADE20K R101': Value(
            (640, 576), 'f891919', 'encoding/models/encnet.py', '229-230'
        ),
        # Four GPUs (docs/source/experiments/segmentation.rst, lines 67 to 84) with four images.
        'batch': Value(16, 'f891919', f'{_SEG}/option.py', '103, 115'),
        'momentum': Value(0.9, 'f891919', f'{_SEG}/option.py', '58'),
        'weight decay': Value(1e-4, 'f891919', f'{_SEG}/option.py', '60'),
        'multiplier after the backbone': Value(10, 'f891919', f'{_SEG}/train.py', '58-62'),
        'power of the decay': Value(0.9, 'f891919', 'encoding/utils/lr_scheduler.py', '47'),
        'end of the decay': Value(0.0, 'f891919', 'encoding/utils/lr_scheduler.py', '47'),
        'auxiliary weight': Value(0.2, 'f891919', f'{_SEG}/option.py', '37'),
        'SE weight': Value(0.2, 'f891919', f'{_SEG}/option.py', '41'),
        'scaled side': Value('short', 'f891919', 'encoding/datasets/base.py', '72-78'),
        'scales': Value((0.5, 2.0), 'f891919', 'encoding/datasets/base.py', '71'),
        'blur': Value((0.5, (0.0, 1.0)), 'f891919', 'encoding/datasets/base.py', '93-96'),
        'dropout': Value(nn.Dropout2d, 'f891919', 'encoding/models/encnet.py', '101'),
        'auxiliary dropout': Value(nn.Dropout2d, 'f891919', 'encoding/models/fcn.py', '68'),
        'rate of dropout': Value(0.1, 'f891919', 'encoding/models/encnet.py', '101'),
        'evaluation scales': Value(
            [0.5, 0.75, 1.0, 1.25, 1.5, 1.75], 'f891919', f'{_SEG}/test.py', '64'
        ),
        'evaluation scales, Cityscapes': Value(
            [0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25], 'f891919', f'{_SEG}/test.py', '63'
        ),
    },
    'v1.2.0': {
        'epochs': Value(
            dict(coco21=30, cityscapes=240, voc12=50, voc12aug=80, pcontext=80, ade20k=180),
            'ac74841',
            f'{_SEG}/train.py',
            '104-111',
        ),
        'lr': Value(
            dict(
                coco21=0.004,
                cityscapes=0.004,
                voc12=0.0001,
                voc12aug=0.001,
                pcontext=0.001,
                ade20k=0.004,
            ),
            'ac74841',
            f'{_SEG}/train.py',
            '114-121',
        ),
        'base size': Value(520, 'ac74841', f'{_SEG}/train.py', '37'),
        'crop size': Value(480, 'ac74841', f'{_SEG}/train.py', '39'),
        'batch': Value(16, 'ac74841', f'{_SEG}/train.py', '56, 122'),
        'momentum': Value(0.9, 'ac74841', f'{_SEG}/train.py', '67'),
        'weight decay': Value(1e-4, 'ac74841', f'{_SEG}/train.py', '69'),
        'multiplier after the backbone': Value(10, 'ac74841', f'{_SEG}/train.py', '154-158'),
        'power of the decay': Value(0.9, 'ac74841', 'encoding/utils/lr_scheduler.py', '56'),
        'end of the decay': Value(0.0, 'ac74841', 'encoding/utils/lr_scheduler.py', '56'),
        'auxiliary weight': Value(0.2, 'ac74841', f'{_SEG}/train.py', '46'),
        'SE weight': Value(0.2, 'ac74841', f'{_SEG}/train.py', '50'),
        'scaled side': Value('long', 'ac74841', 'encoding/datasets/base.py', '73-80'),
        'scales': Value((0.5, 2.0), 'ac74841', 'encoding/datasets/base.py', '72'),
        'blur': Value(None, 'ac74841', 'encoding/datasets/base.py', '64-96'),
        'dropout': Value(nn.Dropout, 'ac74841', 'encoding/models/sseg/encnet.py', '101'),
        'auxiliary dropout': Value(nn.Dropout, 'ac74841', 'encoding/models/sseg/fcn.py', '107'),
        'rate of dropout': Value(0.1, 'ac74841', 'encoding/models/sseg/encnet.py', '101'),
        'evaluation scales': Value(
            [0.5, 0.75, 1.0, 1.25, 1.5, 1.75], 'ac74841', f'{_SEG}/test.py', '158'
        ),
        'evaluation scales, Cityscapes': Value(
            [0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25], 'ac74841', f'{_SEG}/test.py', '157'
        ),
    },
}


class Shipped(NamedTuple):
    """A shipped config: its recipe and what no recipe contains.

    Attributes:
        release: Key of the recipe.
        schedule: Data set whose schedule it has.
        images: Training images.
        lateral: Whether the head has lateral connections; None for other heads than EncNet's.
        padding: Label of the padding.
    """

    release: str
    schedule: str
    images: int
    lateral: bool | None
    padding: int = 255


PCONTEXT = Shipped('v0.5.0', 'pcontext', 4998, True)
ADE20K = Shipped('v0.5.0', 'ade20k', 20210, False)
CONFIGS = {
    'encnet_r50_pcontext': PCONTEXT,
    'encnet_r101_pcontext': PCONTEXT,
    'encnet_r50_pcontext60': PCONTEXT,
    'encnet_r50_pcontext_no-se': PCONTEXT,
    'encnet_r50_pcontext_v1': PCONTEXT._replace(release='v1.2.0'),
    'encnet_r50_jpu_pcontext': PCONTEXT._replace(lateral=False),
    'encnet_r50_jpu-fastfcn_pcontext': PCONTEXT._replace(lateral=False),
    'fcn_r50_pcontext': PCONTEXT._replace(lateral=None),
    'pspnet_r50_pcontext': PCONTEXT._replace(lateral=None),
    'deeplabv3_r50_pcontext': PCONTEXT._replace(lateral=None),
    'encnet_r50_ade20k': ADE20K,
    'encnet_r101_ade20k': ADE20K,
    'encnet_r152_ade20k': ADE20K,
    'encnet_r50_ade20k_v1': ADE20K._replace(release='v1.2.0'),
    'encnet_r101_jpu_ade20k': ADE20K,
    'encnet_r101_jpu-fastfcn_ade20k': ADE20K,
    'encnet_r50_cityscapes': Shipped('v1.2.0', 'cityscapes', 2975, False),
    'encnet_r50_voc12aug': Shipped('v0.5.0', 'voc12aug', 10582, True, 0),
    # The number of images is an estimate, see test_data_facts.py.
    'encnet_r101_coco21': Shipped('v0.5.0', 'coco21', 92516, False, 0),
    'encnet_r101_voc12aug_from-coco': Shipped('v0.5.0', 'voc12aug', 11355, True, 0),
    'encnet_r101_voc12_from-aug': Shipped('v0.5.0', 'voc12', 2913, True, 0),
    'encnet_r50_cocostuff164k': Shipped('v0.5.0', 'coco21', 118287, False),
}
# Published for neither release: chosen for the size of its images.
SIZES = {'encnet_r50_cityscapes': (2048, 768)}


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


@functools.cache
def load(name: str) -> Config:
    return Config.fromfile(config_file(name))


def original(name: str, key: str) -> Value:
    shipped = CONFIGS[name]
    values = ORIGINAL[shipped.release]
    if key == 'evaluation scales' and shipped.schedule == 'cityscapes':
        key += ', Cityscapes'
    if key in ('base size', 'crop size'):
        sizes = SIZES.get(name)
        if name == 'encnet_r101_ade20k':
            sizes = values['base and crop size, ADE20K R101'].value
        if sizes:
            return values[key]._replace(value=sizes[key == 'crop size'])
    value = values[key]
    return value._replace(value=value.value[shipped.schedule]) if key in ('epochs', 'lr') else value


def steps(cfg: Config) -> dict[str, dict]:
    return {step.type: step for step in cfg.train_dataloader.dataset.pipeline}


def resizing(cfg: Config) -> dict:
    found = steps(cfg)
    return found.get('RandomShortSideResize') or found['RandomResize']


def dropout(head: dict) -> type[nn.Module]:
    return nn.Dropout2d if head.get('channel_dropout', True) else nn.Dropout


def blur(cfg: Config) -> tuple | None:
    step = steps(cfg).get('RandomGaussianBlur')
    return step and (step.prob, step.radius_range)


def epochs(cfg: Config, images: int) -> float:
    # The original drops the last, incomplete batch of an epoch (train.py, drop_last).
    return cfg.train_cfg.max_iters / (images // 16)


def multiplier(cfg: Config) -> set[float]:
    keys = cfg.optim_wrapper.paramwise_cfg.custom_keys
    assert set(keys) == {'decode_head', 'auxiliary_head', 'neck'}
    (value,) = {key.lr_mult for key in keys.values()}
    return value


READ: dict[str, Callable[[Config], Any]] = {
    'lr': lambda cfg: cfg.optim_wrapper.optimizer.lr,
    'base size': lambda cfg: cfg.base_size,
    'crop size': lambda cfg: cfg.crop_size[0],
    'batch': lambda cfg: cfg.auto_scale_lr.base_batch_size,
    'momentum': lambda cfg: cfg.optim_wrapper.optimizer.momentum,
    'weight decay': lambda cfg: cfg.optim_wrapper.optimizer.weight_decay,
    'multiplier after the backbone': multiplier,
    'power of the decay': lambda cfg: cfg.param_scheduler[0].power,
    'end of the decay': lambda cfg: cfg.param_scheduler[0].eta_min,
    'auxiliary weight': lambda cfg: cfg.model.auxiliary_head.loss_decode.loss_weight,
    'SE weight': lambda cfg: cfg.model.decode_head.loss_se_decode.loss_weight,
    'scaled side': lambda cfg: 'short' if 'RandomShortSideResize' in steps(cfg) else 'long',
    'scales': lambda cfg: resizing(cfg).ratio_range,
    'blur': blur,
    'dropout': lambda cfg: dropout(cfg.model.decode_head),
    'auxiliary dropout': lambda cfg: dropout(cfg.model.auxiliary_head),
    'rate of dropout': lambda cfg: cfg.model.decode_head.dropout_ratio,
    'evaluation scales': lambda cfg: cfg.published_tta_model.scales,
}


@pytest.mark.parametrize('name', CONFIGS)
def test_config_has_the_values_of_its_release(name):
    cfg = load(name)
    found = {key: read(cfg) for key, read in READ.items() if key != 'SE weight'}
    if CONFIGS[name].lateral is not None:
        found['SE weight'] = READ['SE weight'](cfg)
    found['epochs'] = epochs(cfg, CONFIGS[name].images)
    wrong = {
        key: (value, original(name, key))
        for key, value in found.items()
        if value != original(name, key).value
    }
    assert not wrong


@pytest.mark.parametrize('release', ORIGINAL)
def test_schedules_of_a_release(release):
    values, ours = ORIGINAL[release], RELEASES[release]
    assert {key: schedule.epochs for key, schedule in ours.schedules.items()} == (
        values['epochs'].value
    )
    assert {key: schedule.lr for key, schedule in ours.schedules.items()} == values['lr'].value
    assert list(ours.cityscapes_tta_scales) == values['evaluation scales, Cityscapes'].value
    assert {value.commit for value in values.values()} == {ours.commit}


@pytest.mark.parametrize('name', CONFIGS)
def test_everything_else_of_a_recipe(name):
    shipped, cfg = CONFIGS[name], load(name)
    assert cfg.train_dataloader.batch_size * 8 == 16
    assert cfg.auto_scale_lr.enable
    assert cfg.optim_wrapper.optimizer.type == 'SGD'
    (decay,) = cfg.param_scheduler
    assert (decay.type, decay.by_epoch) == ('PolyLR', False)

    short = shipped.release == 'v0.5.0'
    base, crop = cfg.base_size, cfg.crop_size
    assert list(steps(cfg)) == [
        'LoadImageFromFile',
        'LoadAnnotations',
        'RandomShortSideResize' if short else 'RandomResize',
        'Pad',
        'RandomCrop',
        *(['RandomGaussianBlur'] if short else []),
        'RandomFlip',
        'PackSegInputs',
    ]
    resize = resizing(cfg)
    assert resize.backend == 'pillow'
    assert (resize.base_size if short else resize.scale) == (base if short else (base, base))
    assert steps(cfg)['RandomCrop'] == dict(type='RandomCrop', crop_size=crop)
    padding = dict(img=0, seg=shipped.padding)
    assert steps(cfg)['Pad'] == dict(type='Pad', size=crop, pad_val=padding)
    assert cfg.val_dataloader == cfg.test_dataloader
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (base, base)
    scales = cfg.published_tta_model.scales
    assert [step.scale[0] for step in cfg.tta_pipeline[1].transforms[0]] == [
        -int(-base * scale // 1) for scale in scales
    ]
    assert cfg.published_tta_model.base_size == base

    model = cfg.model
    assert model.data_preprocessor.size == crop
    stride = (int(crop[0] * 2 / 3),) * 2
    assert model.test_cfg == dict(mode='slide', crop_size=crop, stride=stride)
    assert model.decode_head.get('add_lateral') == shipped.lateral
    for head in (model.decode_head, model.auxiliary_head):
        assert head.align_corners
        assert head.loss_decode.type == 'SyncCrossEntropyLoss'
        assert head.init_cfg == dict(type='PyTorchDefault')
    if shipped.lateral is not None:
        assert not model.decode_head.loss_se_decode.skip_unlabelled
    assert model.decode_head.channels == 512
    # FastFCN's head starts with a 1x1 convolution.
    assert model.decode_head.get('bottleneck_kernel_size', 3) == (1 if 'fastfcn' in name else 3)


@pytest.mark.parametrize('name', ['encnet_r50_pcontext', 'encnet_r50_jpu_pcontext'])
def test_all_after_the_backbone_learns_ten_times_as_fast(name):
    cfg = load(name).copy()
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    names = {id(value): key for key, value in model.named_parameters()}
    rates: dict[str, set] = {}
    for group in build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups:
        for value in group['params']:
            rates.setdefault(names[id(value)].split('.')[0], set()).add(group['lr'])
    assert rates.pop('backbone') == {0.001}
    parts = {'decode_head', 'auxiliary_head'} | ({'neck'} if 'jpu' in name else set())
    assert rates == {part: {0.01} for part in parts}
