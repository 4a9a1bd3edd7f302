"""Layer-wise learning rates of any backbone."""

from __future__ import annotations

import pytest
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.running.layer_decay import layer_numbers


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope('mmseg')


def transformers(**config) -> dict:
    return dict(type='HFBackbone', config=config)


VIT = dict(hidden_size=8, num_hidden_layers=3, num_attention_heads=2, image_size=28)
STAGES = dict(hidden_sizes=[8, 16, 24, 32], depths=[1, 2, 1, 1])
# Number of layers, and the layers of some parameters.
LAYERS = {
    'dinov2': (
        transformers(model_type='dinov2', **VIT),
        3,
        {
            'model.embeddings.cls_token': 0,
            'model.encoder.layer.0.norm1.weight': 1,
            'model.encoder.layer.2.mlp.fc2.bias': 3,
            'model.layernorm.weight': 3,
        },
    ),
    'dinov3': (
        transformers(model_type='dinov3_vit', intermediate_size=16, **VIT),
        3,
        {'model.embeddings.patch_embeddings.weight': 0, 'model.model.layer.1.norm2.weight': 2},
    ),
    'convnext': (
        transformers(model_type='convnext', **STAGES),
        None,
        {
            'model.embeddings.patch_embeddings.weight': 0,
            'model.encoder.stages.0.layers.0.dwconv.weight': 1,
        },
    ),
    'resnet': (
        transformers(model_type='resnet', embedding_size=8, **STAGES),
        5,
        {
            'model.encoder.stages.1.layers.1.layer.2.convolution.weight': 3,
            'model.encoder.stages.3.layers.0.shortcut.convolution.weight': 5,
        },
    ),
    'ResNetV1s': (
        dict(type='ResNetV1s', depth=18, base_channels=4, stem_channels=8),
        8,
        {'stem.0.weight': 0, 'layer1.0.conv1.weight': 1, 'layer4.1.conv2.weight': 8},
    ),
    'EfficientNetLite': (
        dict(type='EfficientNetLite'),
        16,
        {'stem.conv.weight': 0, 'stages.1.0.expand.conv.weight': 2},
    ),
    'Swin': (
        dict(type='SwinTransformer', embed_dims=12, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2)),
        None,
        {'patch_embed.projection.weight': 0, 'stages.0.blocks.0.norm1.weight': 1},
    ),
}


@pytest.mark.parametrize('settings, count, expected', LAYERS.values(), ids=list(LAYERS))
def test_numbers_of_the_layers(settings, count, expected):
    if settings['type'] == 'HFBackbone':
        pytest.importorskip('transformers')
    numbers = layer_numbers(MODELS.build(settings))
    assert {name: numbers[name] for name in expected} == expected
    # Layers follow each other in the order of the parameters.
    ordered = list(numbers.values())
    assert set(ordered) == set(range(max(ordered) + 1))
    assert count is None or max(ordered) == count


class Segmentor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.stem = nn.Linear(2, 2)
        self.backbone.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
        self.backbone.layers[1].bias.requires_grad_(False)
        self.decode_head = nn.Linear(2, 2)
        self.neck = nn.Linear(2, 2)


def rates(**paramwise_cfg) -> dict[str, tuple[float, float]]:
    """Return learning rate and weight decay by parameter."""
    model = Segmentor()
    wrapper = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='SGD', lr=0.1, weight_decay=0.01),
            constructor='LayerDecayConstructor',
            paramwise_cfg=paramwise_cfg,
        ),
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(group['params'][0])]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
    }


def test_rates_decrease_towards_the_input():
    found = rates(decay_rate=0.5, bias_decay_mult=0.0, custom_keys=dict(neck=dict(lr_mult=3.0)))
    expected = {
        'backbone.stem.weight': (0.0125, 0.01),
        'backbone.stem.bias': (0.0125, 0.0),
        'backbone.layers.0.weight': (0.025, 0.01),
        'backbone.layers.0.bias': (0.025, 0.0),
        'backbone.layers.1.weight': (0.05, 0.01),
        'decode_head.weight': (0.1, 0.01),
        'decode_head.bias': (0.1, 0.0),
        'neck.weight': (0.3, 0.01),
        'neck.bias': (0.3, 0.01),
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values), name


@pytest.mark.parametrize('paramwise_cfg', [{}, dict(decay_rate=0), dict(decay_rate=1.5)])
def test_a_rate_out_of_range(paramwise_cfg):
    with pytest.raises(UserError, match='needs a decay_rate above 0 and at most 1'):
        rates(**{'bias_decay_mult': 0.0, **paramwise_cfg})
