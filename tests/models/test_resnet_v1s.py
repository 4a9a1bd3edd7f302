"""Shapes, strides, dilations and size of the published backbone."""

from __future__ import annotations

import pytest
import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_encnet.errors import UserError

UNDILATED = dict(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1))


def build(depth: int, **options) -> nn.Module:
    return MODELS.build(dict(type='ResNetV1s', depth=depth, **options))


@pytest.mark.parametrize('depth, expansion', [(18, 1), (34, 1), (50, 4), (101, 4), (152, 4)])
@pytest.mark.parametrize('options, strides', [({}, (4, 8, 8, 8)), (UNDILATED, (4, 8, 16, 32))])
def test_output_shapes(depth, expansion, options, strides):
    backbone = build(depth, base_channels=4, stem_channels=8, **options)
    backbone.eval()
    with torch.no_grad():
        outputs = backbone(torch.randn(1, 3, 64, 96))
    assert [tuple(output.shape) for output in outputs] == [
        (1, 4 * 2**stage * expansion, 64 // stride, 96 // stride)
        for stage, stride in enumerate(strides)
    ]


@pytest.mark.parametrize('depth', [18, 50])
def test_dilations_are_the_published_ones(depth):
    """The first block of a dilated stage has the previous dilation; there is no multi-grid."""
    backbone = build(depth, base_channels=4, stem_channels=8)
    expected = {1: (1, 1), 2: (1, 1), 3: (1, 2), 4: (2, 4)}
    for stage, (first, others) in expected.items():
        for index, block in enumerate(getattr(backbone, f'layer{stage}')):
            spatial = [
                conv
                for conv in block.modules()
                if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3)
            ]
            dilation = first if index == 0 else others
            # The toolbox dilates the first of a basic block's two convolutions.
            assert spatial[0].dilation == spatial[0].padding == (dilation, dilation)
    assert all(
        conv.dilation == (1, 1)
        for conv in build(depth, **UNDILATED).modules()
        if isinstance(conv, nn.Conv2d)
    )


def test_stem_is_64_64_128():
    convs = [layer for layer in build(50).stem if isinstance(layer, nn.Conv2d)]
    assert [(conv.in_channels, conv.out_channels, conv.stride[0]) for conv in convs] == [
        (3, 64, 2),
        (64, 64, 1),
        (64, 128, 1),
    ]
    assert all(conv.kernel_size == (3, 3) and conv.bias is None for conv in convs)


def test_number_of_parameters():
    """Compare with a ResNet-50 without classifier, plus the stem and the wider first block."""
    plain = 25_557_032 - (2048 * 1000 + 1000)
    plain_stem = 3 * 64 * 7 * 7 + 2 * 64
    stem = 9 * (3 * 64 + 64 * 64 + 64 * 128) + 2 * (64 + 64 + 128)
    # The first block has 128 input channels instead of 64, in its first 1x1 convolution (to 64)
    # and its projection shortcut (to 256).
    first_block = 64 * (64 + 256)
    expected = plain - plain_stem + stem + first_block
    assert sum(parameter.numel() for parameter in build(50).parameters()) == expected


@pytest.mark.parametrize('zero_init, weight', [(False, 1.0), (True, 0.0)])
def test_last_norm_of_a_block_starts_at(zero_init, weight):
    backbone = build(50, base_channels=4, stem_channels=8, zero_init_residual=zero_init)
    backbone.init_weights()
    assert (backbone.layer2[1].norm3.weight == weight).all()


def step(depth: int, recompute: str, **options) -> list[Tensor]:
    """Return outputs, gradients and running statistics of a small network."""
    torch.manual_seed(0)
    backbone = build(depth, base_channels=8, stem_channels=16, recompute=recompute, **options)
    backbone.train()
    outputs = backbone(torch.randn(2, 3, 32, 48))
    sum((output**2).mean() for output in outputs).backward()
    grads = [parameter.grad for parameter in backbone.parameters() if parameter.requires_grad]
    return [*outputs, *grads, *backbone.buffers()]


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('recompute', ['cheap', 'most'])
@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(norm_eval=True),
        dict(frozen_stages=1),
        dict(with_cp=True),
        dict(norm_cfg=dict(type='GN', num_groups=2)),
    ],
)
def test_recomputation_changes_no_gradient(depth, recompute, options):
    for found, expected in zip(step(depth, recompute, **options), step(depth, 'none', **options)):
        # On processors with FMA they are equal.
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_recomputation_keeps_the_state_dict():
    assert build(18).state_dict().keys() == build(18, recompute='none').state_dict().keys()


def test_unknown_recomputation():
    with pytest.raises(UserError, match="unknown recompute 'all'; choose one of none, cheap, most"):
        build(18, recompute='all')
