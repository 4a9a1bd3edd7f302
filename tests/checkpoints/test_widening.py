"""Three-channel weights in networks for other numbers of channels, for every kind of backbone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmseg.registry import MODELS
from torch import nn

from mmseg_encnet.checkpoints.widening import widen, widen_on_load
from mmseg_encnet.errors import UserError
from mmseg_encnet.models.input_channels import input_channels

_RESNET = dict(depth=18, base_channels=8, stem_channels=16, norm_cfg=dict(type='BN'))
_DINOV2 = dict(
    model_type='dinov2',
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    image_size=56,
    patch_size=14,
)
BACKBONES = {
    'ResNetV1s': dict(type='ResNetV1s', **_RESNET),
    'ResNetV1c': dict(type='ResNetV1c', **_RESNET),
    'EfficientNetLite': dict(type='EfficientNetLite', norm_cfg=dict(type='BN')),
    'MixVisionTransformer': dict(
        type='MixVisionTransformer', embed_dims=16, num_layers=[1, 1, 1, 1], num_heads=[1, 1, 2, 4]
    ),
    'SwinTransformer': dict(
        type='SwinTransformer', embed_dims=24, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)
    ),
    # Two branches read the image.
    'BiSeNetV1': dict(
        type='BiSeNetV1',
        backbone_cfg=dict(type='ResNet', depth=18, num_stages=4, norm_cfg=dict(type='BN')),
        norm_cfg=dict(type='BN'),
    ),
    'HFBackbone': dict(type='HFBackbone', config=_DINOV2),
}


def build(kind: str, channels: int, checkpoint: Path | None = None) -> nn.Module:
    cfg = Config(dict(model=BACKBONES[kind])).model
    if kind == 'HFBackbone':
        cfg.config.num_channels = channels
        checkpoint = checkpoint and f'huggingface://{checkpoint}'
    elif kind == 'BiSeNetV1':
        cfg.backbone_cfg.in_channels = cfg.in_channels = channels
    else:
        cfg.in_channels = channels
    if checkpoint:
        cfg.init_cfg = dict(type='Pretrained', checkpoint=str(checkpoint))
    return MODELS.build(cfg)


class Segmentor(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone


@pytest.mark.parametrize('kind', BACKBONES)
def test_zero_weights_reproduce_the_network_of_three_channels(kind, tmp_path):
    torch.manual_seed(0)
    before = build(kind, 3)
    before.eval()
    path = tmp_path / 'weights.pth'
    if kind == 'HFBackbone':
        path = tmp_path / 'folder'
        before.model.save_pretrained(path)
    else:
        torch.save(before.state_dict(), path)
    # Blue, green, red, near infrared, red edge.
    after = build(kind, 5, path)
    names = []
    widen_on_load(Segmentor(after), 'zero', (2, 1, 0), names)
    after.init_weights()
    after.eval()
    assert len(names) == (2 if kind == 'BiSeNetV1' else 1)
    image = torch.rand(1, 5, 64, 64)
    with torch.no_grad():
        expected = before(image[:, [2, 1, 0]])
        for one, other in zip(expected, after(image), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_network_of_transformers_names_the_hook(tmp_path):
    build('HFBackbone', 3).model.save_pretrained(tmp_path / 'folder')
    with pytest.raises(UserError, match=r'three channels, got num_channels=4.*WidenInputHook'):
        build('HFBackbone', 4, tmp_path / 'folder').init_weights()


W0, W1, W2 = (torch.full((2, 1, 1), value) for value in (1.0, 2.0, 6.0))
WEIGHT = torch.stack([W0, W1, W2], 1).squeeze(-1)[..., None]


@pytest.mark.parametrize(
    'channels, mode, rgb, expected',
    [
        (4, 'zero', None, [1, 2, 6, 0]),
        (4, 'zero', (2, 1, 0), [6, 2, 1, 0]),
        (5, 'mean', (3, 2, 1), [1.8, 3.6, 1.2, 0.6, 1.8]),
        (6, 'repeat', None, [0.5, 1, 3, 0.5, 1, 3]),
        (1, 'mean', None, [9]),
        (2, 'repeat', None, [1.5, 3]),
    ],
)
def test_formula(channels, mode, rgb, expected):
    widened = widen(WEIGHT, channels, mode, rgb)
    assert widened.shape == (2, channels, 1, 1)
    torch.testing.assert_close(widened[1, :, 0, 0], torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize('channels', [1, 2, 4, 7])
def test_equal_channels_activate_as_grey(channels):
    weight = torch.rand(3, 3, 3, 3)
    grey = torch.rand(1, 1, 5, 5)
    one = torch.conv2d(grey.expand(-1, 3, -1, -1), weight)
    other = torch.conv2d(grey.expand(-1, channels, -1, -1), widen(weight, channels, 'mean'))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    'channels, arguments, match',
    [
        (4, dict(mode='copy'), "unknown mode 'copy'"),
        (4, dict(rgb_channels=(0, 1, 4)), 'three different positions from 0 to 3, got'),
        (4, dict(rgb_channels=(0, 1, 1)), 'three different positions'),
        (2, dict(mode='zero'), "got mode='zero' for 2 channel"),
    ],
)
def test_refused(channels, arguments, match):
    with pytest.raises(UserError, match=match):
        widen(WEIGHT, channels, **arguments)


def four_channels(tiny_config, mode='zero', **options):
    """Return a config whose images have a fourth channel."""
    return tiny_config(
        {
            'model.backbone.in_channels': 4,
            'model.data_preprocessor.type': 'ChannelsPreProcessor',
            'model.data_preprocessor.mean': [0.0] * 4,
            'model.data_preprocessor.std': [255.0] * 4,
            'model.data_preprocessor.bgr_to_rgb': False,
            'custom_hooks': [dict(type='WidenInputHook', mode=mode)],
            **options,
        }
    )


def test_training_from_a_checkpoint(tiny_config, tmp_path):
    from mmseg_encnet.running.runner import EncNetRunner

    torch.manual_seed(0)
    start = MODELS.build(tiny_config().model)
    torch.save(dict(state_dict=start.state_dict()), tmp_path / 'start.pth')
    cfg = four_channels(tiny_config, load_from=str(tmp_path / 'start.pth'))
    runner = EncNetRunner.from_cfg(cfg)

    class Stop(Hook):
        priority = 'HIGHEST'

        def before_train(self, runner) -> None:
            raise KeyboardInterrupt

    runner.register_hook(Stop())
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    loaded = runner.model.state_dict()
    assert input_channels(runner.model.backbone) == 4
    for key, value in start.state_dict().items():
        if value.shape == loaded[key].shape:
            assert torch.equal(loaded[key], value)
        else:
            assert key == 'backbone.stem.0.weight'
            assert torch.equal(loaded[key][:, :3], value)
            assert not loaded[key][:, 3].any()


def test_nothing_to_widen_is_refused(tiny_config):
    from mmseg_encnet.running.runner import EncNetRunner

    with pytest.raises(UserError, match='found no weights of three channels'):
        EncNetRunner.from_cfg(four_channels(tiny_config)).train()
    cfg = tiny_config({'custom_hooks': [dict(type='WidenInputHook')]})
    with pytest.raises(UserError, match='three input channels, expected another number'):
        EncNetRunner.from_cfg(cfg).train()
