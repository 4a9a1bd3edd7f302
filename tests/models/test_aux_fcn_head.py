"""The auxiliary head is the toolbox's FCN head with the values of the released code."""

from __future__ import annotations

import torch
from mmseg.models.losses import CrossEntropyLoss
from mmseg.registry import MODELS
from torch import nn


def test_equals_the_toolbox_head_in_the_released_setting():
    ours = MODELS.build(
        dict(type='AuxFCNHead', in_channels=32, in_index=1, num_classes=5, norm_cfg=dict(type='BN'))
    )
    theirs = MODELS.build(
        dict(
            type='FCNHead',
            in_channels=32,
            channels=8,
            in_index=1,
            num_convs=1,
            concat_input=False,
            dropout_ratio=0.1,
            num_classes=5,
            norm_cfg=dict(type='BN'),
        )
    )
    theirs.load_state_dict(ours.state_dict(), strict=True)
    inputs = [torch.empty(0), torch.randn(2, 32, 6, 5)]
    outputs = []
    for head in (ours, theirs):
        torch.manual_seed(0)
        outputs.append(head.train()(inputs))
    assert torch.equal(*outputs)


def test_layers_are_the_published_ones():
    head = MODELS.build(
        dict(type='AuxFCNHead', in_channels=1024, num_classes=59, norm_cfg=dict(type='BN'))
    )
    convs = [module for module in head.modules() if isinstance(module, nn.Conv2d)]
    assert {(conv.in_channels, conv.out_channels, conv.kernel_size) for conv in convs} == {
        (1024, 256, (3, 3)),
        (256, 59, (1, 1)),
    }
    assert head.dropout.p == 0.1
    assert isinstance(head.loss_decode, CrossEntropyLoss)
    assert head.loss_decode.loss_weight == 0.2
    assert head.loss_decode.avg_non_ignore


def test_every_default_can_be_changed():
    head = MODELS.build(
        dict(
            type='AuxFCNHead',
            in_channels=8,
            channels=6,
            num_convs=2,
            concat_input=True,
            dropout_ratio=0,
            num_classes=5,
            loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
        )
    )
    assert head([torch.randn(1, 8, 4, 4)]).shape == (1, 5, 4, 4)
    assert head.channels == 6 and len(head.convs) == 2 and head.dropout is None
    assert head.loss_decode.loss_weight == 0.4
