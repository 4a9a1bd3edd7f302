"""PyTorch's default initialisation in the heads, against layers that PyTorch creates."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

from mmseg_encnet import config_file

DEFAULT = dict(type='PyTorchDefault')
HEADS = {
    'EncodingHead': dict(
        type='EncodingHead',
        in_channels=[16, 24, 32],
        in_index=[0, 1, 2],
        channels=12,
        num_classes=5,
        num_codes=4,
        add_lateral=True,
        norm_cfg=dict(type='BN'),
    ),
    'AuxFCNHead': dict(
        type='AuxFCNHead', in_channels=32, in_index=2, num_classes=5, norm_cfg=dict(type='BN')
    ),
}


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


def plain(layer: nn.Module) -> nn.Module:
    """Return a new layer of the same settings, as PyTorch initialises it."""
    if isinstance(layer, nn.Conv2d):
        return nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            padding=layer.padding,
            bias=layer.bias is not None,
        )
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, layer.out_features)
    return type(layer)(layer.num_features)


@pytest.mark.parametrize('name', HEADS)
def test_equals_new_layers_bit_for_bit(name):
    head = MODELS.build(dict(HEADS[name], init_cfg=DEFAULT))
    kinds = (nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm)
    layers = [layer for layer in head.modules() if isinstance(layer, kinds)]
    assert {type(layer).__name__ for layer in layers} >= {'Conv2d', 'BatchNorm2d'}
    codewords = [value.clone() for key, value in head.named_parameters() if 'codewords' in key]

    torch.manual_seed(0)
    head.init_weights()
    torch.manual_seed(0)
    for layer in layers:
        expected = plain(layer).state_dict()
        for key, value in layer.state_dict().items():
            assert torch.equal(value, expected[key])
    # The dictionary remains as published.
    after = [value for key, value in head.named_parameters() if 'codewords' in key]
    assert all(torch.equal(*pair) for pair in zip(codewords, after))


def test_the_default_remains_that_of_the_toolbox():
    torch.manual_seed(0)
    settings = dict(HEADS['EncodingHead'], num_classes=400, channels=64)
    heads = {}
    for key, init in (('toolbox', {}), ('PyTorch', dict(init_cfg=DEFAULT))):
        heads[key] = MODELS.build(dict(settings, **init))
        heads[key].init_weights()
    bottleneck = {key: head.bottleneck.conv.weight.std().item() for key, head in heads.items()}
    # sqrt(2 / fan-out), and 1 / sqrt(3 fan-in).
    assert bottleneck['toolbox'] == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    assert bottleneck['PyTorch'] == pytest.approx((3 * 32 * 9) ** -0.5, rel=0.05)
    classifier = {key: head.conv_seg.weight.std().item() for key, head in heads.items()}
    assert classifier['toolbox'] == pytest.approx(0.01, rel=0.05)
    assert classifier['PyTorch'] == pytest.approx((3 * 64) ** -0.5, rel=0.05)
    assert heads['toolbox'].conv_seg.bias.abs().max() == 0
    assert heads['PyTorch'].conv_seg.bias.abs().max() > 0


def test_two_options_switch_a_config():
    cfg = Config.fromfile(config_file('encnet_r18_narrow_msrc21'))
    assert 'init_cfg' not in cfg.model.decode_head
    switched = copy.deepcopy(cfg)
    switched.merge_from_dict(
        {
            'model.decode_head.init_cfg.type': 'PyTorchDefault',
            'model.auxiliary_head.init_cfg.type': 'PyTorchDefault',
        }
    )
    heads = []
    for config in (cfg, switched):
        model = MODELS.build(config.model)
        model.init_weights()
        heads.append((model.decode_head, model.auxiliary_head))
    for toolbox, pytorch in zip(*heads):
        assert toolbox.conv_seg.bias.abs().max() == 0
        assert pytorch.conv_seg.bias.abs().max() > 0


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('channel', [True, False])
def test_dropout_of_channels_or_values(name, channel):
    head = MODELS.build(dict(HEADS[name], channel_dropout=channel))
    assert type(head.dropout) is (nn.Dropout2d if channel else nn.Dropout)
    assert head.dropout.p == 0.1
    without = MODELS.build(dict(HEADS[name], channel_dropout=channel, dropout_ratio=0))
    assert without.dropout is None
