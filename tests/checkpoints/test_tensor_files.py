"""Checkpoints as safetensors: every tool that writes weights, every reader of checkpoints."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner import CheckpointLoader
from mmseg.apis import init_model
from mmseg.registry import MODELS
from PIL import Image
from tiny_setup import MSRC21

from mmseg_encnet import toolbox_changes
from mmseg_encnet.checkpoints.files import read_checkpoint, write_checkpoint
from mmseg_encnet.checkpoints.plain_loading import load_from_local
from mmseg_encnet.errors import UserError

safetensors = pytest.importorskip('safetensors')
META = dict(classes=('sky', 'tree'), palette=np.array([[1, 2, 3], [4, 5, 6]]))


@pytest.fixture
def weights(tiny_config) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return MODELS.build(tiny_config().model).state_dict()


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_what_is_written_is_read(tmp_path):
    shared = torch.arange(6.0)
    state_dict = {
        'a': shared,
        'b': shared,
        'view': shared.view(2, 3).t(),
        'half': torch.ones(2, dtype=torch.bfloat16),
        'count': torch.tensor(7),
        'empty': torch.empty(0, 3),
        'mask': torch.tensor([True, False]),
    }
    path = tmp_path / 'folder' / 'x.safetensors'
    meta = dict(dataset_meta=META, iter=3, log=object(), time='now')
    write_checkpoint(path, dict(state_dict=state_dict, meta=meta))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    found, facts = read_checkpoint(path)
    assert same(found, state_dict)
    assert facts['dataset_meta'] == dict(classes=['sky', 'tree'], palette=[[1, 2, 3], [4, 5, 6]])
    assert (facts['iter'], facts['time'], 'log' in facts) == (3, 'now', False)
    # Without the suffix, and as others write the format.
    renamed = path.rename(path.with_name('x.pth'))
    assert same(load_from_local(renamed)['state_dict'], state_dict)
    plain = tmp_path / 'plain.safetensors'
    pytest.importorskip('safetensors.torch').save_file({'a': shared}, plain)
    assert same(read_checkpoint(plain)[0], {'a': shared})
    with pytest.raises(UserError, match='cannot store optimizer, only weights'):
        write_checkpoint(path, dict(state_dict=state_dict, optimizer={}))


def test_damaged_files(tmp_path):
    path = tmp_path / 'x.safetensors'
    write_checkpoint(path, dict(state_dict=dict(a=torch.arange(64.0)), meta={}))
    data = path.read_bytes()
    huge = struct.pack('<Q', 2**40) + data[8:]
    for content, words in (
        (data[:-3], 'cannot be read as safetensors'),
        (data[:-1] + bytes([data[-1] ^ 1]), 'does not match its checksum'),
        (b'', 'cannot be read as safetensors'),
        (b'<html>moved</html>', 'cannot be read as safetensors'),
        (huge, 'cannot be read as safetensors'),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=words) as caught:
            load_from_local(path)
        assert '\n' not in str(caught.value)
    torch.save(dict(state_dict=dict(a=torch.ones(1))), path)
    assert load_from_local(path)['state_dict']['a'] == 1


def test_every_reader(weights, run_tool, tiny_options, tmp_path):
    path = tmp_path / 'tiny.safetensors'
    write_checkpoint(path, dict(state_dict=weights, meta={}))
    Image.new('RGB', (40, 30)).save(tmp_path / 'image.png')
    options = dict(tiny_options)
    for tool, rest in (('test', ()), ('infer', ('image.png', '--device', 'cpu'))):
        result = run_tool(tool, MSRC21, path, *rest, options=options)
        assert result.status == 0, result.err
    start = {'load_from': str(path), 'default_hooks.checkpoint.save_best': 'mIoU'}
    result = run_tool('train', MSRC21, '--out', 'best.safetensors', options={**options, **start})
    assert result.status == 0, result.err
    found, meta = read_checkpoint(tmp_path / 'best.safetensors')
    assert found.keys() == weights.keys()
    assert len(meta['dataset_meta']['classes']) == 21
    assert 'config' not in meta
    backbone = {
        'model.backbone.init_cfg': None,
        'model.backbone.init_cfg.type': 'Pretrained',
        'model.backbone.init_cfg.checkpoint': str(path),
        'model.backbone.init_cfg.prefix': 'backbone.',
        'train_cfg.max_iters': 1,
        'train_cfg.val_interval': 1,
    }
    backbone.pop('model.backbone.init_cfg')
    result = run_tool('train', MSRC21, options={**options, **backbone})
    assert result.status == 0, result.err


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_weights_alone_cannot_be_resumed(suffix, weights, run_tool, tiny_options, tmp_path):
    path = tmp_path / f'tiny{suffix}'
    write_checkpoint(path, dict(state_dict=weights, meta={}))
    options = dict(tiny_options, load_from=str(path), resume=True)
    assert (
        'no state from which a training resumes'
        in run_tool('train', MSRC21, options=options).sentence
    )


@pytest.mark.parametrize('reverted', [False, True])
def test_the_toolbox_reads_them(reverted, weights, tiny_config, tmp_path):
    path = tmp_path / 'tiny.safetensors'
    classes = [str(index) for index in range(21)]
    meta = dict(dataset_meta=dict(classes=classes, palette=[[index] * 3 for index in range(21)]))
    write_checkpoint(path, dict(state_dict=weights, meta=meta))
    if reverted:
        toolbox_changes.revert()
    try:
        model = init_model(tiny_config(), str(path), device='cpu')
    finally:
        toolbox_changes.apply()
    assert same(model.state_dict(), weights)
    assert model.dataset_meta['classes'] == classes


def test_converters_write_by_suffix(weights, run_tool, tmp_path):
    source = tmp_path / 'training.pth'
    content = dict(state_dict=weights, meta=dict(config=str(tmp_path), iter=9), optimizer={})
    torch.save(content, source)
    for tool in ('convert', 'publish'):
        for suffix in ('.safetensors', '.pth'):
            out = tmp_path / f'{tool}{suffix}'
            result = run_tool(f'model_converters/{tool}', source, out)
            assert result.status == 0, result.err
            assert same(read_checkpoint(out)[0], weights)
            if suffix == '.safetensors':
                start = out.read_bytes()
                assert json.loads(start[8 : 8 + int.from_bytes(start[:8], 'little')])
            else:
                assert torch.load(out, weights_only=True).keys() == {'state_dict', 'meta'}
            if tool == 'publish':
                assert str(tmp_path).encode() not in out.read_bytes()
    result = run_tool('model_converters/publish', source, source)
    assert 'choose another file to write' in result.sentence
    result = run_tool('model_converters/pack', MSRC21, source, 'packed.pth')
    assert 'ends in .safetensors' in result.sentence


def test_by_address(weights, tmp_path, monkeypatch):
    path = tmp_path / 'kept' / 'hub' / 'checkpoints'
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'kept'))
    written = path / '00000000-x.safetensors'
    write_checkpoint(written, dict(state_dict=weights, meta={}))
    monkeypatch.setattr(
        'mmseg_encnet.checkpoints.remote.hashlib.sha256',
        lambda _: type('Digest', (), {'hexdigest': staticmethod(lambda: '0' * 64)}),
    )
    content = CheckpointLoader.load_checkpoint('http://127.0.0.1:9/x.safetensors', 'cpu')
    assert same(content['state_dict'], weights)
    assert Path(written).is_file()
