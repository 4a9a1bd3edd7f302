"""Heads whose scores cannot distinguish the classes."""

from __future__ import annotations

import pytest
from tiny_setup import ROOT

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError

BINARY = str(ROOT / 'configs' / 'encnet_r18_binary.py')
HEAD, AUX = 'model.decode_head', 'model.auxiliary_head'


def test_the_recipe_for_two_classes_passes():
    cfg = load_config(BINARY)
    for head in (cfg.model.decode_head, cfg.model.auxiliary_head):
        assert (head.num_classes, head.out_channels, head.threshold) == (2, 1, 0.5)
        assert head.loss_decode.use_sigmoid


@pytest.mark.parametrize('head', [HEAD, AUX])
@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'num_classes': 1}, 'num_classes=1, expected at least 2'),
        ({'num_classes': 1, 'loss_decode.use_sigmoid': False}, 'num_classes=1, expected'),
        ({'loss_decode.use_sigmoid': False}, 'out_channels=1 with the loss SyncCrossEntropyLoss'),
        ({'loss_decode': {'_delete_': True, 'type': 'TverskyLoss'}}, 'the loss TverskyLoss'),
        ({'loss_decode': {'_delete_': True, 'type': 'LovaszLoss'}}, 'with the loss LovaszLoss'),
        ({'loss_decode': {'_delete_': True, 'type': 'CrossEntropyLoss'}}, 'CrossEntropyLoss'),
        ({'num_classes': 3}, 'out_channels=1 with num_classes=3'),
        ({'threshold': 1}, 'threshold must be a probability between 0 and 1, got 1'),
        ({'threshold': 'half'}, "got 'half'"),
    ],
    ids=str,
)
def test_heads_that_cannot_learn_are_refused(head, options, words):
    with pytest.raises(UserError, match=words) as raised:
        load_config(BINARY, {f'{head}.{key}': value for key, value in options.items()})
    assert head in str(raised.value)


@pytest.mark.parametrize(
    'options',
    [
        {f'{HEAD}.out_channels': 2, f'{HEAD}.loss_decode.use_sigmoid': False},
        {f'{HEAD}.out_channels': None},
        {f'{HEAD}.loss_decode': {'_delete_': True, 'type': 'LovaszLoss', 'loss_type': 'binary'}},
        {f'{HEAD}.loss_decode': {'_delete_': True, 'type': 'FocalLoss'}},
        {f'{HEAD}.threshold': 0.01},
    ],
    ids=str,
)
def test_heads_that_can_learn_pass(options):
    assert load_config(BINARY, options).model.decode_head.num_classes == 2


def test_every_auxiliary_head_is_checked(tmp_path):
    config = tmp_path / 'two.py'
    config.write_text(
        f'_base_ = {BINARY!r}\n'
        "aux = dict(type='AuxFCNHead', in_channels=128, in_index=2, num_classes=2)\n"
        'model = dict(auxiliary_head=[aux, dict(aux, out_channels=1)])\n'
    )
    with pytest.raises(UserError, match=r'model\.auxiliary_head\.1\.out_channels=1 with the loss'):
        load_config(str(config))
