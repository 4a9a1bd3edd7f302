"""Every mistake ends in one sentence that names the file or key, with exit status 2."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import socket
import urllib.error
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from mmseg.registry import MODELS
from pickled_code import Payload
from PIL import Image
from tiny_setup import MSRC21
from torch import nn

from mmseg_encnet.checkpoints import pytorch_encoding
from mmseg_encnet.configuration import switches
from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.ops.encode import BACKENDS

TRAIN_LABEL, VAL_IMAGE = 'labels/train/1.png', 'images/val/1.jpg'
TRAIN_IMAGE = 'images/train/1.jpg'


def write_label(path: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        label = np.array(Image.open(root / path))
        Image.fromarray(change(label)).save(root / path)

    return write


def with_value(label: np.ndarray) -> np.ndarray:
    label[0, 0] = 21
    return label


def write_bytes(path: str, content: bytes) -> Callable[[Path], None]:
    return lambda root: (root / path).write_bytes(content)


def truncate(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_bytes((root / path).read_bytes()[:100])


def empty_folder(path: str) -> Callable[[Path], None]:
    def empty(root: Path) -> None:
        for file in (root / path).iterdir():
            file.unlink()

    return empty


def missing_folder(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).rename(root / 'elsewhere')


BROKEN_DATA = {
    'missing data root': (
        lambda root: root.rename(root.with_name('moved')),
        ['data root', 'data', 'tools/dataset_converters/msrc21.py'],
    ),
    'missing image folder': (missing_folder('images/train'), ['MSRC21Dataset', 'data_prefix']),
    'empty image folder': (empty_folder('images/train'), ['no images', 'images/train']),
    'missing label': (lambda root: (root / TRAIN_LABEL).unlink(), [TRAIN_LABEL, 'missing']),
    'label value outside the classes': (
        write_label(TRAIN_LABEL, with_value),
        [TRAIN_LABEL, '21', '0 to 20', '255'],
    ),
    'any grey image as label': (
        write_label(
            TRAIN_LABEL, lambda label: np.arange(label.size).reshape(label.shape).astype(np.uint8)
        ),
        [TRAIN_LABEL, '21, 22, 23, 24, 25, ...'],
    ),
    'label of another size': (
        write_label(TRAIN_LABEL, lambda label: label[:40]),
        [TRAIN_LABEL, '40x72', '56x72'],
    ),
    # Padded to the crop, the label would have the size of its image again.
    'label turned': (
        write_label(TRAIN_LABEL, lambda label: label.T.copy()),
        [TRAIN_LABEL, '72x56', '56x72'],
    ),
    'colours as label': (
        write_label(TRAIN_LABEL, lambda label: np.stack([label] * 3, axis=-1)),
        [TRAIN_LABEL, '(56, 72, 3)', 'one channel'],
    ),
    # The toolbox would read 300 as 44.
    '16-bit label': (
        write_label(TRAIN_LABEL, lambda label: np.full_like(label, 300, dtype=np.uint16)),
        [TRAIN_LABEL, '300', '8 bits'],
    ),
    'undecodable label': (write_bytes(TRAIN_LABEL, b'no image'), [TRAIN_LABEL, 'decoded']),
    'truncated image': (truncate(TRAIN_IMAGE), [TRAIN_IMAGE, 'decoded']),
    'empty image': (write_bytes(TRAIN_IMAGE, b''), [TRAIN_IMAGE, 'decoded']),
    'images of another suffix': (
        lambda root: (root / TRAIN_IMAGE).rename((root / TRAIN_IMAGE).with_suffix('.JPG')),
        ['images/train contains images with other suffixes than .jpg', '1 ending in .JPG'],
    ),
}


@pytest.mark.parametrize('name', BROKEN_DATA)
def test_broken_data(name, run_tool, tiny_data, tiny_options):
    break_it, words = BROKEN_DATA[name]
    break_it(tiny_data)
    sentence = run_tool('train', MSRC21, '--work-dir', 'work', options=tiny_options).sentence
    assert all(word in sentence for word in words), sentence


def test_broken_data_in_a_worker_process(run_tool, tiny_data, tiny_options):
    (tiny_data / TRAIN_LABEL).unlink()
    options = {**tiny_options, 'train_dataloader.num_workers': 1}
    result = run_tool('train', MSRC21, '--work-dir', 'work', options=options)
    assert f'{TRAIN_LABEL} is missing' in result.sentence


def test_broken_validation_data_leaves_the_checkpoints(run_tool, tiny_data, tiny_options, tmp_path):
    image = (tiny_data / VAL_IMAGE).read_bytes()
    truncate(VAL_IMAGE)(tiny_data)
    options = {**tiny_options, 'default_hooks.checkpoint.interval': 1}
    train = ('train', MSRC21, '--work-dir', 'work')
    sentence = run_tool(*train, options=options).sentence
    assert VAL_IMAGE in sentence and 'decoded' in sentence

    work_dir = tmp_path / 'work'
    before = {path.name: path.read_bytes() for path in work_dir.glob('*.pth')}
    assert set(before) == {'iter_1.pth', 'iter_2.pth'}
    (tiny_data / VAL_IMAGE).write_bytes(image)
    options['train_cfg.max_iters'] = 4
    assert run_tool(*train, '--resume', '--extend-to', '4', options=options).status == 0
    assert (work_dir / 'iter_4.pth').is_file()
    assert all(
        (work_dir / name).read_bytes() == content
        for name, content in before.items()
        # The repeated validation is added to the last one.
        if (work_dir / name).is_file() and name != 'iter_2.pth'
    )


MISTAKEN_OPTIONS = {
    'model type': ({'model.type': 'ContextEncoderDecodr'}, ['model.type', 'ContextEncoderDecoder']),
    'head type': ({'model.decode_head.type': 'EncodngHead'}, ['EncodngHead', 'EncodingHead']),
    'type with a scope': ({'model.type': 'mmseg.EncoderDecodr'}, ['mmseg.EncoderDecodr']),
    'transform': (
        {'train_dataloader.dataset.pipeline.1.type': 'LoadAnnotation'},
        ['train_dataloader.dataset.pipeline.1.type', 'LoadAnnotations'],
    ),
    'optimizer': ({'optim_wrapper.optimizer.type': 'SDG'}, ['optimizer.type', 'SDG', 'SGD']),
    'hook': ({'default_hooks.timer.type': 'IterTimrHook'}, ['IterTimrHook', 'IterTimerHook']),
    'norm': ({'model.backbone.norm_cfg.type': 'SyncB'}, ['model.backbone.norm_cfg.type', 'SyncB']),
    'data set': ({'train_dataloader.dataset.type': 'MSRCDataset'}, ['MSRCDataset']),
    'argument of the head': ({'model.decode_head.num_code': 4}, ['num_code', 'not an argument']),
    'argument of the optimizer': ({'optim_wrapper.optimizer.lrate': 1}, ['lrate', 'SGD']),
    'argument of the loop': ({'train_cfg.max_iter': 9}, ['max_iter', 'IterBasedTrainLoop']),
    'argument of the checkpoint hook': ({'default_hooks.checkpoint.every': 9}, ['every']),
    'entry of a list': ({'model.decode_head.in_index.9': 3}, ['model.decode_head.in_index.9=3']),
    'entry of a number': ({'model.decode_head.channels.x': 3}, ['model.decode_head.channels.x=3']),
    'depth': ({'model.backbone.depth': 20}, ['got 20', '18, 34, 50, 101, 152']),
    'fewer outputs than classes': (
        {'model.auxiliary_head.num_classes': 20},
        ['auxiliary_head.num_classes=20', '21 classes'],
    ),
    'encoder backend': (
        {
            'model.decode_head.encoder.backend': 'tritn',
        },
        ["'tritn'", 'triton'],
    ),
    'groups': (
        {'model.decode_head.norm_cfg.type': 'GN', 'model.decode_head.norm_cfg.num_groups': 8},
        ['num_groups=8', 'num_codes=4'],
    ),
}


@pytest.mark.parametrize('name', MISTAKEN_OPTIONS)
def test_mistaken_option(name, run_tool, tiny_options):
    options, words = MISTAKEN_OPTIONS[name]
    result = run_tool('train', MSRC21, '--work-dir', 'work', options={**tiny_options, **options})
    assert all(word in result.sentence for word in words), result.sentence


def test_norm_without_its_operators(run_tool, tiny_options, monkeypatch):
    for registry in (ROOT_MODELS, MODELS):
        monkeypatch.delitem(registry.module_dict, 'MMSyncBN', raising=False)
    options = {**tiny_options, 'model.decode_head.norm_cfg.type': 'MMSyncBN'}
    sentence = run_tool('train', MSRC21, options=options).sentence
    assert 'model.decode_head.norm_cfg.type' in sentence
    assert 'pip install --no-cache-dir --no-build-isolation onedl-mmcv' in sentence


def test_encoder_backend_that_cannot_run_here(run_tool, tiny_options, monkeypatch):
    refusing = dataclasses.replace(
        BACKENDS['mmcv'], refusal=lambda *tensors: 'the operators are not compiled; compile them'
    )
    monkeypatch.setitem(BACKENDS, 'mmcv', refusing)
    options = {
        **tiny_options,
        'model.decode_head.encoder.backend': 'mmcv',
    }
    sentence = run_tool('train', MSRC21, '--work-dir', 'work', options=options).sentence
    assert "'mmcv'" in sentence and 'the operators are not compiled' in sentence


def test_data_root_of_a_config_without_one(run_tool):
    result = run_tool('train', 'encnet_r18_context-scenes', options={'data_root': 'here'})
    assert 'data_root=here' in result.sentence


CONFIG_FILES = {
    'missing file': ('configs/encnet_r18_msrc21.py', None, ['configs/encnet_r18_msrc21.py']),
    'missing name': ('encnet_r18_msrc', None, ['encnet_r18_msrc', 'encnet_r18_msrc21']),
    'syntax': ('mine.py', 'model = dict(\n', ['mine.py']),
    'base': ('mine.py', "_base_ = './nowhere.py'\n", ['mine.py', 'nowhere.py']),
    'name': ('mine.py', 'model = dict(depth=DEPTH)\n', ['mine.py', 'DEPTH']),
    'import': ('mine.py', "custom_imports = dict(imports=['no_such'])\n", ['mine.py', 'no_such']),
}


@pytest.mark.parametrize('name', CONFIG_FILES)
def test_config_that_cannot_be_read(name, run_tool, tmp_path):
    config, content, words = CONFIG_FILES[name]
    if content is not None:
        (tmp_path / config).write_text(content)
    result = run_tool('train', config)
    assert all(word in result.sentence for word in words), result.sentence


@pytest.mark.parametrize('tool', ['train', 'test', 'infer'])
def test_option_without_value(tool, run_tool):
    arguments = {'train': [], 'test': ['x.pth'], 'infer': ['x.pth', 'x']}[tool]
    result = run_tool(tool, MSRC21, *arguments, '--cfg-options', 'train_cfg.max_iters')
    assert 'train_cfg.max_iters' in result.sentence and 'KEY=VALUE' in result.sentence


def model_of(config: Path, options: dict) -> nn.Module:
    return MODELS.build(load_config(str(config), options).model)


def other_classes(path: Path, options: dict) -> None:
    options = {**options, 'model.decode_head.num_classes': 7}
    torch.save(dict(state_dict=model_of(MSRC21, options).state_dict()), path)


def other_network(path: Path, options: dict) -> None:
    options = {
        **options,
        'model.backbone.base_channels': 4,
        'model.backbone.stem_channels': 8,
        'model.decode_head.in_channels': [8, 16, 32],
        'model.auxiliary_head.in_channels': 16,
    }
    torch.save(dict(state_dict=model_of(MSRC21, options).state_dict()), path)


def part_of_the_network(path: Path, options: dict) -> None:
    torch.save(model_of(MSRC21, options).backbone.state_dict(), path)


def truncated(path: Path, options: dict) -> None:
    torch.save(model_of(MSRC21, options).state_dict(), path)
    path.write_bytes(path.read_bytes()[:5000])


def not_finite(path: Path, options: dict) -> None:
    state_dict = model_of(MSRC21, options).state_dict()
    for value, key in (
        (math.nan, 'decode_head.conv_seg.weight'),
        (math.inf, 'decode_head.conv_seg.bias'),
        (-math.inf, 'auxiliary_head.conv_seg.bias'),
    ):
        state_dict[key][-1] = value
    torch.save(dict(state_dict=state_dict), path)


def not_finite_statistics(path: Path, options: dict) -> None:
    state_dict = model_of(MSRC21, options).state_dict()
    state_dict['backbone.layer1.0.bn1.running_var'][0] = math.nan
    torch.save(dict(state_dict=state_dict), path)


CHECKPOINTS = {
    'NaN and infinite weights': (
        not_finite,
        [
            'contains 3 entries with NaN or infinite values (',
            'decode_head.conv_seg.weight',
        ],
    ),
    'NaN running statistics': (
        not_finite_statistics,
        ['contains an entry with NaN', '(backbone.layer1.0.bn1.running_var); use an earlier'],
    ),
    'other classes': (other_classes, ['7 classes', '21', 'decode_head.conv_seg.weight']),
    'other network': (other_network, ['backbone.stem.0.weight', '(4, 3, 3, 3)', '(8, 3, 3, 3)']),
    'part of the network': (part_of_the_network, ['lacks', 'backbone.stem.0.weight']),
    'truncated': (truncated, ['truncated']),
    'text': (lambda path, _: path.write_text('hello'), ['not a checkpoint']),
    'empty': (lambda path, _: path.write_bytes(b''), ['not a checkpoint']),
    'list': (lambda path, _: torch.save([1, 2], path), ['list']),
    'number as weights': (lambda path, _: torch.save(dict(state_dict=3), path), ['int']),
    'code': (
        lambda path, _: torch.save(dict(state_dict=Payload(path.with_name('ran'))), path),
        ['could run code'],
    ),
    'missing': (lambda path, _: None, ['does not exist']),
}


@pytest.mark.parametrize('tool', ['test', 'infer'])
@pytest.mark.parametrize('name', CHECKPOINTS)
def test_checkpoint_that_does_not_fit(name, tool, run_tool, tiny_data, tiny_options, tmp_path):
    write, words = CHECKPOINTS[name]
    path = tmp_path / 'weights.pth'
    write(path, tiny_options)
    extra = [tiny_data / 'images' / 'val'] if tool == 'infer' else ['--work-dir', 'work']
    result = run_tool(tool, MSRC21, path, *extra, options=tiny_options)
    assert all(word in result.sentence for word in [str(path), *words]), result.sentence
    assert not (tmp_path / 'ran').exists()
    assert not (tmp_path / 'predictions').exists()


@pytest.mark.parametrize('way', ['load_from', '--resume', 'Pretrained', 'convert', 'export_onnx'])
def test_weights_that_are_not_finite(way, run_tool, tiny_options, tmp_path):
    path = tmp_path / 'work' / 'iter_1.pth'
    path.parent.mkdir()
    not_finite(path, tiny_options)
    (path.parent / 'last_checkpoint').write_text(str(path))
    train = ('train', MSRC21, '--work-dir', 'work')
    pretrained = {
        'model.backbone.init_cfg.type': 'Pretrained',
        'model.backbone.init_cfg.checkpoint': path,
        'model.backbone.init_cfg.prefix': 'backbone',
    }
    if way == 'Pretrained':
        content = torch.load(path)
        content['state_dict']['backbone.layer1.0.conv1.weight'][0] = math.nan
        torch.save(content, path)
    result = {
        'load_from': lambda: run_tool(*train, options={**tiny_options, 'load_from': path}),
        '--resume': lambda: run_tool(*train, '--resume', options=tiny_options),
        'Pretrained': lambda: run_tool(*train, options={**tiny_options, **pretrained}),
        'convert': lambda: run_tool('model_converters/convert', path, 'converted.pth'),
        'export_onnx': lambda: run_tool(
            'model_converters/export_onnx', MSRC21, path, 'model.onnx', options=tiny_options
        ),
    }[way]()
    count, first = (
        ('an entry', 'backbone.layer1.0.conv1.weight')
        if way == 'Pretrained'
        else ('3 entries', 'decode_head.conv_seg.weight')
    )
    assert f'{path} ' in result.sentence
    assert f'contains {count} with NaN or infinite values ({first}' in result.sentence
    assert {file.name for file in tmp_path.iterdir()} <= {'work', 'data'}
    assert {file.name for file in path.parent.glob('*.pth')} == {'iter_1.pth'}


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Simulate a machine without network access and cached weights."""

    def refuse(*_, **__):
        raise socket.gaierror('no network')

    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    monkeypatch.setattr(
        'torch.hub.urlopen',
        lambda *_, **__: (_ for _ in ()).throw(urllib.error.URLError('no network')),
    )
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))


@pytest.mark.parametrize(
    'weights, file',
    [
        ('open-mmlab://resnet50_v1c', 'resnet50_v1c-2cccc1ad.pth'),
        ('https://example.com/weights/resnet18.pth', 'resnet18.pth'),
        ('https://mmassets.onedl.ai/pretrain/resnet50_v1c-1.pth', 'resnet50_v1c-1.pth'),
        ('pytorch-encoding://resnet50s', 'resnet50s-a75c83cf.zip'),
    ],
)
def test_weights_that_cannot_be_fetched(
    weights, file, run_tool, tiny_options, no_network, tmp_path, monkeypatch
):
    options = {
        **tiny_options,
        'model.backbone.init_cfg.type': 'Pretrained',
        'model.backbone.init_cfg.checkpoint': weights,
    }
    train = ('train', MSRC21, '--work-dir', 'work')
    sentence = run_tool(*train, options=options).sentence
    place = Path(re.search(r'put it at ([^,]+)', sentence).group(1))
    assert place.name == file
    assert place.is_relative_to(tmp_path / 'torch')
    assert re.search(rf'https://\S+/{re.escape(file)}[: ]', sentence)

    # Both remedies work as printed.
    key, value = re.search(r'--cfg-options (\S+)=(\S+)$', sentence).groups()
    scratch = {k: v for k, v in options.items() if not k.startswith(key)}
    assert run_tool(*train, options={**scratch, key: value}).status == 0
    backbone = model_of(MSRC21, tiny_options).backbone.state_dict()
    place.parent.mkdir(parents=True, exist_ok=True)
    torch.save(backbone, place.with_suffix('.pth'))
    if place.suffix == '.zip':
        data = place.with_suffix('.pth').read_bytes()
        digest = hashlib.sha1(data).hexdigest()
        monkeypatch.setitem(pytorch_encoding.IMAGENET_SHA1, 'resnet50s', digest)
        monkeypatch.setattr(pytorch_encoding, 'rename_backbone', lambda source: source)
        place.with_suffix('.pth').rename(place.with_name(f'resnet50s-{digest[:8]}.pth'))
    assert run_tool(*train, options=options).status == 0


@pytest.mark.parametrize(
    'content, words', [(None, ['does not exist']), (b'broken', ['not a checkpoint'])]
)
def test_weights_on_disk_that_cannot_be_read(content, words, run_tool, tiny_options, tmp_path):
    path = tmp_path / 'backbone.pth'
    if content is not None:
        path.write_bytes(content)
    options = {
        **tiny_options,
        'model.backbone.init_cfg.type': 'Pretrained',
        'model.backbone.init_cfg.checkpoint': str(path),
    }
    sentence = run_tool('train', MSRC21, '--work-dir', 'work', options=options).sentence
    assert all(word in sentence for word in [str(path), 'model.backbone.init_cfg', *words])


def test_amp_without_a_gpu_or_bfloat16(run_tool, tiny_options, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(switches, 'computes_in_bfloat16', lambda: False)
    assert '--amp' in run_tool('train', MSRC21, '--amp', options=tiny_options).sentence


@pytest.mark.parametrize('tool', ['train', 'test'])
@pytest.mark.parametrize('backend', ['TensorboardVisBackend', 'mmengine.WandbVisBackend'])
def test_a_tracker_that_is_not_installed(tool, backend, run_tool, tiny_options, monkeypatch):
    monkeypatch.setattr('mmseg_encnet.running.tracking.find_spec', lambda name: None)
    options = dict(tiny_options, **{'visualizer.vis_backends.0.type': backend})
    sentence = run_tool(tool, MSRC21, *['none.pth'] * (tool == 'test'), options=options).sentence
    package = backend.rpartition('.')[2].removesuffix('VisBackend').lower()
    assert sentence.endswith(f'install it with: pip install {package}')


def test_predictions_without_a_metric_that_writes_them(run_tool, tiny_options):
    options = dict(tiny_options, **{'test_evaluator.type': 'TwinPixelAccuracy'})
    options['test_evaluator.iou_metrics._delete_'] = True
    sentence = run_tool('test', MSRC21, 'none.pth', '--out', 'out', options=options).sentence
    assert 'no IoUMetric' in sentence


FOREIGN = {
    'an EncNet': {'head.encmodule.fc.0.weight': torch.zeros(1)},
    'a backbone': {'conv1.0.weight': torch.zeros(1)},
}


@pytest.mark.parametrize('tool', ['test', 'infer'])
@pytest.mark.parametrize('name', FOREIGN)
def test_published_weights_that_are_not_converted(name, tool, run_tool, tiny_data, tiny_options):
    torch.save(FOREIGN[name], 'published.pth')
    images = [tiny_data] * (tool == 'infer')
    sentence = run_tool(tool, MSRC21, 'published.pth', *images, options=tiny_options).sentence
    assert 'PyTorch-Encoding' in sentence
    assert sentence.endswith('python tools/model_converters/convert.py SRC DST')
    with zipfile.ZipFile('published.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.write('published.pth')
    sentence = run_tool(tool, MSRC21, 'published.zip', *images, options=tiny_options).sentence
    assert 'zip file' in sentence
    assert sentence.endswith('python tools/model_converters/convert.py SRC DST')
