"""All shipped configs: settings, training, prediction and their entries in the metafile."""

from __future__ import annotations

import ast
import copy
import dataclasses
import functools
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import get_external_models
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample
from PIL import Image

import mmseg_encnet  # noqa: F401  (registers the parts in the configs)
from mmseg_encnet.checkpoints.packages import PACKAGED
from mmseg_encnet.checkpoints.pytorch_encoding import IMAGENET_SHA1, SCHEME
from mmseg_encnet.checkpoints.toolbox_hosts import HOSTS, addresses
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.ops.encode import BACKENDS

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
NAMES = [
    'deeplabv3_lite0_camvid',
    'deeplabv3_lite0_clothing',
    'deeplabv3_lite0_msrc21',
    'deeplabv3_r18_msrc21',
    'deeplabv3_r18_narrow_msrc21',
    'deeplabv3_r50_msrc21',
    'deeplabv3_r50_pcontext',
    'encnet_convnext-t_ade20k',
    'encnet_dinov2-b_ade20k',
    'encnet_dinov2-b_pcontext',
    'encnet_dinov2-s_ade20k',
    'encnet_dinov2-s_pcontext',
    'encnet_dinov3-b_ade20k',
    'encnet_dinov3-s_ade20k',
    'encnet_lite0_ade20k',
    'encnet_lite0_camvid',
    'encnet_lite0_cityscapes',
    'encnet_lite0_clothing',
    'encnet_lite0_msrc21',
    'encnet_lite2_clothing',
    'encnet_lite2_msrc21',
    'encnet_mit-b0_ade20k',
    'encnet_r101_ade20k',
    'encnet_r101_cityscapes',
    'encnet_r101_coco21',
    'encnet_r101_jpu-fastfcn_ade20k',
    'encnet_r101_jpu-fastfcn_pcontext',
    'encnet_r101_jpu_ade20k',
    'encnet_r101_jpu_pcontext',
    'encnet_r101_pcontext',
    'encnet_r101_pcontext60',
    'encnet_r101_voc12_from-aug',
    'encnet_r101_voc12aug',
    'encnet_r101_voc12aug_from-coco',
    'encnet_r101v1c_ade20k',
    'encnet_r101v1c_cityscapes',
    'encnet_r101v1c_cityscapes-769',
    'encnet_r152_ade20k',
    'encnet_r18_binary',
    'encnet_r18_camvid',
    'encnet_r18_clothing',
    'encnet_r18_context-scenes',
    'encnet_r18_msrc21',
    'encnet_r18_narrow_camvid',
    'encnet_r18_narrow_clothing',
    'encnet_r18_narrow_msrc21',
    'encnet_r18_wide_context-scenes',
    'encnet_r50_ade20k',
    'encnet_r50_ade20k_v1',
    'encnet_r50_camvid',
    'encnet_r50_cityscapes',
    'encnet_r50_clothing',
    'encnet_r50_cocostuff164k',
    'encnet_r50_jpu-fastfcn_ade20k',
    'encnet_r50_jpu-fastfcn_pcontext',
    'encnet_r50_jpu_ade20k',
    'encnet_r50_jpu_pcontext',
    'encnet_r50_msrc21',
    'encnet_r50_pcontext',
    'encnet_r50_pcontext60',
    'encnet_r50_pcontext_no-se',
    'encnet_r50_pcontext_paper',
    'encnet_r50_pcontext_v1',
    'encnet_r50_voc12aug',
    'encnet_r50v1c_ade20k',
    'encnet_r50v1c_cityscapes',
    'encnet_r50v1c_cityscapes-769',
    'encnet_r50v1c_jpu_ade20k',
    'encnet_r50v1c_jpu_cityscapes',
    'encnet_resnest50_ade20k',
    'encnet_segnext-t_ade20k',
    'encnet_swin-t_ade20k',
    'fcn_lite0_camvid',
    'fcn_lite0_clothing',
    'fcn_lite0_msrc21',
    'fcn_r18_context-scenes',
    'fcn_r18_msrc21',
    'fcn_r18_narrow_msrc21',
    'fcn_r50_msrc21',
    'fcn_r50_pcontext',
    'pspnet_lite0_camvid',
    'pspnet_lite0_clothing',
    'pspnet_lite0_msrc21',
    'pspnet_r18_msrc21',
    'pspnet_r18_narrow_msrc21',
    'pspnet_r50_msrc21',
    'pspnet_r50_pcontext',
    'segformer_mit-b0_presence_ade20k',
]
# Configs that need a GPU and mmcv's compiled operators.
WITH_OPERATORS = ['encnet_r50_pcontext_mmcv-ops']
# A config for each data set base with files.
ON_DISK = [
    'encnet_r50_pcontext',
    'encnet_r50_pcontext_paper',
    'encnet_r50_pcontext60',
    'encnet_r50_voc12aug',
    'encnet_r101_coco21',
    'encnet_r101_voc12aug_from-coco',
    'encnet_r101_voc12_from-aug',
    'encnet_r50_ade20k',
    'encnet_r101_ade20k',
    'encnet_r50_cityscapes',
    'encnet_r50_cocostuff164k',
    'encnet_r50_msrc21',
    'encnet_r50_camvid',
    'encnet_r50_clothing',
    'encnet_r18_binary',
    'encnet_lite0_msrc21',
    'encnet_lite0_clothing',
    'encnet_lite0_camvid',
    'encnet_r50v1c_ade20k',
    'encnet_r50v1c_cityscapes',
    'encnet_r50v1c_cityscapes-769',
]
# Divides every width, so that a training step takes a fraction of a second.
SHRINK = 8


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


@functools.cache
def parse(path: Path) -> Config:
    return Config.fromfile(path)


def load(name: str) -> Config:
    return copy.deepcopy(parse(CONFIGS / f'{name}.py'))


def shrink(cfg: Config) -> Config:
    """Return the config with an eighth of the widths and without pretrained weights."""
    model = cfg.model
    options = {
        'model.backbone.init_cfg': None,
        'model.data_preprocessor.size': (64, 64),
        'model.decode_head.channels': model.decode_head.channels // SHRINK,
    }
    # EfficientNet-Lite has no width to set.
    fixed = model.backbone.type == 'EfficientNetLite'
    if 'embed_dims' in model.backbone:
        widths = model.backbone.embed_dims
        options['model.backbone.embed_dims'] = (
            widths // SHRINK if isinstance(widths, int) else [width // SHRINK for width in widths]
        )
    elif model.backbone.type == 'HFBackbone':
        pytest.importorskip('transformers')
        options |= {
            f'model.backbone.config.{key}': value
            for key, value in narrow(model.backbone.config).items()
        }
    elif not fixed:
        width = model.backbone.get('base_channels', 64)
        options['model.backbone.base_channels'] = width // SHRINK
    if 'neck' in model:
        options['model.neck.mid_channels'] = model.neck.mid_channels // SHRINK
    for part in ('neck', 'decode_head', 'auxiliary_head'):
        if part in model and not fixed:
            widths = model[part].in_channels
            options[f'model.{part}.in_channels'] = (
                widths // SHRINK
                if isinstance(widths, int)
                else type(widths)(width // SHRINK for width in widths)
            )
    if model.test_cfg.mode == 'slide':
        options |= {'model.test_cfg.crop_size': (48, 48), 'model.test_cfg.stride': (32, 32)}
    cfg.merge_from_dict(options)
    return cfg


def narrow(config: dict) -> dict:
    """Return the entries of an architecture of Transformers at an eighth of the width."""
    if config['model_type'] == 'convnext':
        return dict(hidden_sizes=[width // SHRINK for width in (96, 192, 384, 768)])
    heads = config['num_attention_heads'] // 3
    widths = ('hidden_size', 'intermediate_size')
    return dict(
        {key: config[key] // SHRINK for key in widths if key in config}, num_attention_heads=heads
    )


def batch(num_classes: int) -> dict:
    rng = np.random.default_rng(0)
    inputs, samples = [], []
    for _ in range(2):
        inputs.append(torch.from_numpy(rng.integers(0, 256, (3, 64, 64), dtype=np.uint8)))
        labels = torch.from_numpy(rng.integers(0, num_classes, (1, 64, 64)))
        labels[:, :8] = 255
        sample = SegDataSample(
            metainfo=dict(
                img_shape=(64, 64), ori_shape=(50, 70), pad_shape=(64, 64), padding_size=[0] * 4
            )
        )
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


@pytest.mark.parametrize('name', NAMES)
def test_trains_and_predicts(name):
    torch.manual_seed(0)
    cfg = shrink(load(name))
    assert not [key for key in cfg if key.startswith('_')]
    assert cfg.model.decode_head.num_classes == cfg.num_classes
    model = MODELS.build(cfg.model)

    model.train()
    data = model.data_preprocessor(batch(cfg.num_classes), training=True)
    losses = model.loss(**data)
    expected = {'decode.loss_ce', 'decode.acc_seg', 'aux.loss_ce', 'aux.acc_seg'}
    if cfg.model.auxiliary_head.type in ('AuxEncodingHead', 'PresenceHead'):
        expected = {'decode.loss_ce', 'decode.acc_seg', 'aux.loss_se'}
    if cfg.model.decode_head.get('use_se_loss', False):
        expected.add('decode.loss_se')
    assert set(losses) == expected
    total, _ = model.parse_losses(losses)
    assert torch.isfinite(total)
    total.backward()
    without = [
        key for key, value in model.named_parameters() if value.requires_grad and value.grad is None
    ]
    assert not without

    model.eval()
    with torch.no_grad():
        predictions = model.val_step(batch(cfg.num_classes))
    for prediction in predictions:
        labels = prediction.pred_sem_seg.data
        assert labels.shape == (1, 50, 70)
        assert labels.max() < cfg.num_classes


@pytest.mark.parametrize('name', WITH_OPERATORS)
def test_without_operators_the_config_is_refused(name, monkeypatch):
    # As on a machine whose mmcv has the operators, but no GPU.
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setitem(MODELS.module_dict, 'MMSyncBN', torch.nn.BatchNorm2d)
    with pytest.raises(UserError, match=r"backend 'mmcv' cannot be used: .*, or use backend="):
        MODELS.build(shrink(load(name)).model)


@pytest.mark.skipif(
    'MMSyncBN' in MODELS.module_dict, reason='for an mmcv without its compiled operators'
)
@pytest.mark.parametrize('name', WITH_OPERATORS)
def test_without_operators_the_config_is_not_loaded(name):
    with pytest.raises(UserError, match=r"MMSyncBN' needs mmcv's compiled operators.*pip install"):
        load_config(name)


@pytest.mark.parametrize('name', WITH_OPERATORS)
def test_the_head_uses_the_operators(name, monkeypatch):
    called = []
    backend = BACKENDS['mmcv']
    monkeypatch.setitem(MODELS.module_dict, 'MMSyncBN', torch.nn.BatchNorm2d)
    monkeypatch.setitem(
        BACKENDS,
        'mmcv',
        dataclasses.replace(
            backend,
            refusal=lambda *tensors: None,
            run=lambda *tensors: called.append('mmcv') or BACKENDS['dense'].run(*tensors),
        ),
    )
    cfg = shrink(load(name))
    assert cfg.model.decode_head.norm_cfg == dict(type='MMSyncBN')
    model = MODELS.build(cfg.model)
    data = model.data_preprocessor(batch(cfg.num_classes), training=True)
    model.parse_losses(model.loss(**data))[0].backward()
    assert called == ['mmcv']
    assert isinstance(model.decode_head.enc_module.encoding[1], torch.nn.BatchNorm2d)
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize('name', ON_DISK)
def test_data_set_reads_and_augments(name, tmp_path):
    cfg = load(name)
    settings = dict(cfg.train_dataloader.dataset, data_root=str(tmp_path))
    if 'ann_file' in settings:
        lists = tmp_path / settings['ann_file']
        lists.parent.mkdir(parents=True)
        lists.write_text('one\n')
    (tmp_path / settings['data_prefix']['img_path']).mkdir(parents=True)
    dataset = DATASETS.build(dict(settings, lazy_init=True))
    assert len(dataset.metainfo['classes']) == cfg.num_classes

    image = Path(dataset.data_prefix['img_path']) / f'one{dataset.img_suffix}'
    label = Path(dataset.data_prefix['seg_map_path']) / f'one{dataset.seg_map_suffix}'
    label.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (90, 60), (200, 100, 50)).save(image)
    Image.new('L', (90, 60), 1).save(label)
    dataset.full_init()
    sample = dataset[0]
    shape = tuple(sample['inputs'].shape[1:])
    assert shape == tuple(sample['data_samples'].gt_sem_seg.data.shape[1:])
    crop_size = tuple(cfg.get('view_size', cfg.crop_size))
    assert all(side <= crop for side, crop in zip(shape, crop_size))
    if any(step.type == 'Pad' for step in cfg.train_pipeline):
        assert shape == crop_size

    evaluated = DATASETS.build(
        dict(settings, pipeline=cfg.test_dataloader.dataset.pipeline, test_mode=True)
    )
    kinds = {step.type for step in cfg.test_dataloader.dataset.pipeline}
    # MMSegInferencer looks these two up by name.
    assert {'LoadImageFromFile', 'LoadAnnotations'} <= kinds
    assert evaluated[0]['data_samples'].metainfo['ori_shape'] == (60, 90)
    augmented = DATASETS.build(dict(settings, pipeline=cfg.tta_pipeline, test_mode=True))[0]
    assert len(augmented['inputs']) == 2 * len(cfg.tta_pipeline[1].transforms[0])


def test_the_paper_beside_the_released_code():
    released, paper = load('encnet_r50_pcontext'), load('encnet_r50_pcontext_paper')
    assert paper.train_cfg.max_iters == 50 * (4998 // 16)
    steps = [step.type for step in paper.train_dataloader.dataset.pipeline]
    rotate = steps.index('RandomRotate')
    assert steps[rotate + 1] == 'Pad'
    assert paper.train_dataloader.dataset.pipeline[rotate] == dict(
        type='RandomRotate', prob=1.0, degree=10, pad_val=0, seg_pad_val=255
    )
    del steps[rotate]
    assert steps == [step.type for step in released.train_dataloader.dataset.pipeline]

    head = paper.model.decode_head
    assert (head.reduction, head.gate, head.add_lateral) == ('sum', 'scale', False)
    assert head.loss_se_decode.loss_weight == 0.2
    aux = paper.model.auxiliary_head
    assert (aux.type, aux.in_channels, aux.in_index) == ('AuxEncodingHead', 1024, 2)
    assert (aux.reduction, aux.loss_se_decode.loss_weight) == ('sum', 0.2)
    for key in ('optim_wrapper', 'param_scheduler', 'test_dataloader', 'tta_pipeline'):
        assert paper[key] == released[key], key
    assert paper.model.backbone == released.model.backbone


@pytest.mark.parametrize('name', NAMES)
def test_starts_from_published_weights(name):
    cfg = load(name)
    backbone = cfg.model.backbone
    if cfg.load_from is not None or backbone.get('depth') == 18:
        assert backbone.init_cfg is None
        return
    assert backbone.init_cfg.type == 'Pretrained'
    if backbone.type == 'ResNetV1s':
        weights = f'resnet{backbone.depth}s'
        assert backbone.init_cfg.checkpoint == SCHEME + weights
        assert weights in IMAGENET_SHA1
    elif backbone.type == 'EfficientNetLite':
        weights = f'efficientnet-lite{backbone.arch}'
        assert backbone.init_cfg.checkpoint == f'package://{weights}'
        assert weights in PACKAGED
    elif backbone.type == 'ResNetV1c':
        assert f'/resnet{backbone.depth}_v1c-' in backbone.init_cfg.checkpoint
        assert backbone.init_cfg.checkpoint.startswith(HOSTS)


def test_a_stage_takes_over_the_one_before():
    coco, aug, voc = map(
        load, ('encnet_r101_coco21', 'encnet_r101_voc12aug_from-coco', 'encnet_r101_voc12_from-aug')
    )
    # The number of the first stage's last iteration depends on the number of images.
    assert aug.load_from == f'work_dirs/{Path(coco.filename).stem}'
    aug.model.backbone.init_cfg = coco.model.backbone.init_cfg
    assert aug.model.decode_head.pop('add_lateral')
    assert not coco.model.decode_head.pop('add_lateral')
    assert aug.model == coco.model

    aug = load('encnet_r101_voc12aug_from-coco')
    iterations = aug.train_cfg.max_iters
    assert voc.load_from == f'work_dirs/{Path(aug.filename).stem}/iter_{iterations}.pth'
    assert voc.model == aug.model


@pytest.mark.parametrize(
    'ours, theirs',
    [
        ('encnet_r50v1c_ade20k', 'encnet_r50-d8_4xb4-160k_ade20k-512x512'),
        ('encnet_r101v1c_ade20k', 'encnet_r101-d8_4xb4-160k_ade20k-512x512'),
        ('encnet_r50v1c_cityscapes', 'encnet_r50-d8_4xb2-80k_cityscapes-512x1024'),
        ('encnet_r101v1c_cityscapes', 'encnet_r101-d8_4xb2-80k_cityscapes-512x1024'),
        ('encnet_r50v1c_cityscapes-769', 'encnet_r50-d8_4xb2-80k_cityscapes-769x769'),
        ('encnet_r101v1c_cityscapes-769', 'encnet_r101-d8_4xb2-80k_cityscapes-769x769'),
        ('encnet_r50v1c_jpu_ade20k', 'fastfcn_r50-d32_jpu_enc_4xb4-160k_ade20k-512x512'),
        ('encnet_r50v1c_jpu_cityscapes', 'fastfcn_r50-d32_jpu_enc_4xb2-80k_cityscapes-512x1024'),
    ],
)
def test_v1c_is_the_toolbox_network_and_recipe(ours, theirs):
    folder = theirs.partition('_')[0]
    toolbox = Path(mmseg.__file__).parent / '.mim' / 'configs' / folder / f'{theirs}.py'
    ours, theirs = load(ours), Config.fromfile(toolbox)
    shapes = []
    for cfg in (ours, theirs):
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
        shapes.append({key: value.shape for key, value in model.state_dict().items()})
    assert shapes[0] == shapes[1]

    weights = get_external_models()[theirs.model.pretrained.removeprefix('open-mmlab://')]
    assert weights in addresses(ours.model.backbone.init_cfg.checkpoint)
    assert ours.model.data_preprocessor == theirs.model.data_preprocessor
    assert ours.model.test_cfg == theirs.model.test_cfg
    for part in ('decode_head', 'auxiliary_head'):
        head, other = ours.model[part], theirs.model[part]
        assert head.align_corners == other.align_corners
        assert head.loss_decode.loss_weight == other.loss_decode.loss_weight
        assert head.loss_decode.type == other.loss_decode.type
        assert not head.loss_decode.get('avg_non_ignore', False)
    assert ours.optim_wrapper.optimizer == theirs.optim_wrapper.optimizer
    assert 'paramwise_cfg' not in ours.optim_wrapper
    assert ours.train_cfg.max_iters == theirs.train_cfg.max_iters
    assert ours.param_scheduler[0].eta_min == theirs.param_scheduler[0].eta_min
    # MMSegmentation trains on 4 GPUs, and its pipelines reduce the zero label, not its data sets.
    assert ours.auto_scale_lr.base_batch_size == 4 * theirs.train_dataloader.batch_size
    for loader in ('train_dataloader', 'test_dataloader'):
        pipelines = [list(map(dict, cfg[loader].dataset.pipeline)) for cfg in (ours, theirs)]
        for step in pipelines[1]:
            step.pop('reduce_zero_label', None)
        assert pipelines[0] == pipelines[1]


def own_and_inherited(path: Path) -> tuple[dict, dict]:
    """Return the content of a config file itself, and the merged content of its bases."""
    tree = ast.parse(path.read_text())
    bases = []
    for statement in list(tree.body):
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == '_base_':
            bases = ast.literal_eval(statement.value)
            tree.body.remove(statement)
    inherited = Config({})
    for base in [bases] if isinstance(bases, str) else bases:
        inherited.merge_from_dict(parse(path.parent / base).to_dict())
    # The file may modify inherited content in place.
    scope = dict(_base_=copy.deepcopy(inherited))
    exec(compile(tree, str(path), 'exec'), scope)
    own = {key: value for key, value in scope.items() if not key.startswith('_')}
    return own, inherited.to_dict()


def repeated(own: dict, inherited: dict, prefix: str = '') -> list[str]:
    if own.get('_delete_', False):
        return []
    found = []
    for key, value in own.items():
        if key not in inherited:
            continue
        if isinstance(value, dict) and isinstance(inherited[key], dict):
            found += repeated(value, inherited[key], f'{prefix}{key}.')
        elif value == inherited[key]:
            found.append(prefix + key)
    return found


@pytest.mark.parametrize(
    'path', sorted(CONFIGS.rglob('*.py')), ids=lambda path: str(path.relative_to(CONFIGS))
)
def test_repeats_nothing_that_a_base_says(path):
    assert repeated(*own_and_inherited(path)) == []


def test_repetition_is_found(tmp_path):
    (tmp_path / 'base.py').write_text('model = dict(a=1, b=dict(c=2))\n')
    leaf = tmp_path / 'leaf.py'
    leaf.write_text("_base_ = './base.py'\nmodel = dict(a=2, b=dict(c=_base_.model.b.c, d=3))\n")
    assert repeated(*own_and_inherited(leaf)) == ['model.b.c']


def test_list_of_configs_and_metafile():
    names = sorted([*NAMES, *WITH_OPERATORS])
    assert sorted(path.stem for path in CONFIGS.glob('*.py')) == names
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert index == dict(Import=['configs/metafile.yml'])
    listing = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())
    assert sorted(model['Name'] for model in listing['Models']) == names
    collections = {collection['Name'] for collection in listing['Collections']}
    for model in listing['Models']:
        assert model['Config'] == f'configs/{model["Name"]}.py'
        assert model['In Collection'] in collections
        source = model['Metadata']['Published By']
        # Every result has a source, and its name marks it as published.
        assert (source == 'none') == ('Results' not in model)
        assert (source == 'none') == ('Published At' not in model['Metadata'])
        assert (source == 'none') == ('Recipe' not in model['Metadata'])
        for result in model.get('Results', []):
            assert all(metric.startswith('published ') for metric in result['Metrics'])
        if 'Weights' in model:
            assert source != 'none'


def test_mim_reads_the_index():
    load_index = pytest.importorskip('modelindex.load_model_index').load
    index = load_index(str(ROOT / 'model-index.yml'))
    names = sorted([*NAMES, *WITH_OPERATORS])
    assert sorted(model.name for model in index.models) == names
    table = pytest.importorskip('mim.commands.search').convert2df(index)
    assert sorted(table.index) == names
    assert table.recipe.notna().equals(table.published_at.notna())
