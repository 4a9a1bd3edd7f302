"""Deep TEN and the visual centre against the published arithmetic, written out naively."""

from __future__ import annotations

import encoder_formulas
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_encnet.errors import UserError
from mmseg_encnet.nn import (
    DeepTENHead,
    DeepTENPool,
    ExplicitVisualCentre,
    LearnableVisualCentre,
)

CHANNELS = 8


def randomised(module: nn.Module) -> nn.Module:
    """Return the module in double precision, with norms and scales that change the features."""
    module = module.double()
    generator = torch.Generator().manual_seed(0)
    for name, value in module.state_dict().items():
        if value.is_floating_point() and value.dim() < 2 and not name.endswith('.scale'):
            value.add_(torch.rand(value.shape, generator=generator))
    return module


def features(channels: int = CHANNELS) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, channels, 5, 4, generator=generator, dtype=torch.float64)


def assert_same_with_gradients(module: nn.Module, formula, x: Tensor) -> None:
    results = []
    for compute in (module, formula):
        module.zero_grad()
        inputs = x.clone().requires_grad_()
        output = compute(inputs)
        (output * output.detach().cos()).sum().backward()
        grads = [parameter.grad.clone() for parameter in module.parameters()]
        results.append([output, inputs.grad, *grads])
    for ours, expected in zip(*results):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


def encoded(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    return torch.stack(
        [encoder_formulas.encoding(image.flatten(1), codewords, scale) for image in x]
    )


def norm(x: Tensor, weights: dict[str, Tensor], name: str, eps: float = 1e-5) -> Tensor:
    """Return the batch norm over the current batch, from its definition."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    mean, variance = x.mean(axes, keepdim=True), x.var(axes, unbiased=False, keepdim=True)
    weight, bias = (weights[f'{name}.{part}'].view(shape) for part in ('weight', 'bias'))
    return (x - mean) / (variance + eps).sqrt() * weight + bias


def conv(x: Tensor, weights: dict[str, Tensor], name: str, **options) -> Tensor:
    return F.conv2d(x, weights[f'{name}.weight'], weights.get(f'{name}.bias'), **options)


def test_deep_ten_pooling_is_the_normalised_encoding() -> None:
    pool = DeepTENPool(CHANNELS, 3).double()

    def formula(x: Tensor) -> Tensor:
        vectors = encoded(x, pool.codewords, pool.scale).reshape(2, -1)
        return vectors / vectors.norm(dim=1, keepdim=True)

    assert_same_with_gradients(pool, formula, features())
    # Without order.
    x = features().flatten(2)
    torch.testing.assert_close(pool(x), pool(x[:, :, torch.randperm(20)]))
    assert pool.assign(features()).shape == (2, 3, 5, 4)


def test_the_head_is_that_of_deep_ten() -> None:
    head = randomised(DeepTENHead(CHANNELS, num_classes=5, channels=4, num_codes=3))
    weights = dict(head.named_parameters())

    def formula(x: Tensor) -> Tensor:
        x = norm(conv(x, weights, '0'), weights, '1').clamp(min=0)
        vectors = encoded(x, weights['3.codewords'], weights['3.scale']).reshape(2, -1)
        vectors = vectors / vectors.norm(dim=1, keepdim=True)
        return vectors @ weights['6.weight'].T + weights['6.bias']

    assert_same_with_gradients(head, formula, features())
    # Keys and shapes of the original, in which layers 2, 4 and 5 have no parameters.
    shapes = {k: tuple(v.shape) for k, v in DeepTENHead(2048, 23).state_dict().items()}
    assert shapes == {
        '0.weight': (128, 2048, 1, 1),
        '0.bias': (128,),
        **{f'1.{key}': (128,) for key in ('weight', 'bias', 'running_mean', 'running_var')},
        '1.num_batches_tracked': (),
        '3.codewords': (32, 128),
        '3.scale': (32,),
        '6.weight': (23, 4096),
        '6.bias': (23,),
    }


def visual_centre(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Return the released block, for weights with its names."""
    y = norm(conv(x, weights, 'conv_1.conv1'), weights, 'conv_1.bn1', 1e-6).clamp(min=0)
    y = norm(conv(y, weights, 'conv_1.conv2', padding=1), weights, 'conv_1.bn2', 1e-6).clamp(min=0)
    y = norm(conv(y, weights, 'conv_1.conv3'), weights, 'conv_1.bn3', 1e-6)
    aside = norm(conv(x, weights, 'conv_1.residual_conv'), weights, 'conv_1.residual_bn', 1e-6)
    x = (y + aside).clamp(min=0)
    projected = norm(conv(x, weights, 'LVC.0'), weights, 'LVC.1').clamp(min=0)
    codes = encoded(projected, weights['LVC.3.codewords'], weights['LVC.3.scale'])
    vector = norm(codes, weights, 'LVC.4').clamp(min=0).mean(dim=1)
    gate = 1 / (1 + (-(vector @ weights['fc.0.weight'].T + weights['fc.0.bias'])).exp())
    return (x + x * gate[:, :, None, None]).clamp(min=0)


def group_norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    mean, variance = (f(dim=(1, 2, 3), keepdim=True) for f in (x.mean, x.var))
    count = x[0].numel()
    x = (x - mean) / (variance * (count - 1) / count + 1e-5).sqrt()
    return x * weights[f'{name}.weight'][:, None, None] + weights[f'{name}.bias'][:, None, None]


def explicit_centre(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Return the released block, for weights with its names."""
    x = norm(conv(x, weights, 'conv1', padding=3), weights, 'bn1').clamp(min=0)
    x = F.max_pool2d(x, 3, 1, 1)
    inside = {k.removeprefix('lvc.'): v for k, v in weights.items() if k.startswith('lvc.')}
    centre = visual_centre(x, inside)
    y = conv(group_norm(x, weights, 'l_MLP.norm1'), weights, 'l_MLP.dw.dconv.conv', groups=CHANNELS)
    y = norm(y, weights, 'l_MLP.dw.dconv.bn')
    y = y / (1 + (-y).exp())
    y = norm(conv(y, weights, 'l_MLP.dw.pconv.conv'), weights, 'l_MLP.dw.pconv.bn')
    y = y / (1 + (-y).exp())
    z = x + weights['l_MLP.layer_scale_1'][:, None, None] * y
    y = conv(group_norm(z, weights, 'l_MLP.norm2'), weights, 'l_MLP.mlp.fc1')
    y = y * 0.5 * (1 + torch.erf(y / 2**0.5))
    y = conv(y, weights, 'l_MLP.mlp.fc2')
    z = z + weights['l_MLP.layer_scale_2'][:, None, None] * y
    return conv(torch.cat([centre, z], dim=1), weights, 'cnv1')


def published_names(module: nn.Module, renamed: dict[str, str | None]) -> dict[str, str]:
    """Return the released name of each of our entries."""
    names = {}
    for key in module.state_dict():
        for theirs, ours in renamed.items():
            if ours is not None and key.startswith(ours):
                names[key] = theirs + key[len(ours) :]
    return names


def centre_names(module: LearnableVisualCentre) -> dict[str, str]:
    return published_names(module, module._published)


def explicit_names(module: ExplicitVisualCentre) -> dict[str, str]:
    inside = {f'lvc.{ours}': f'lvc.{name}' for ours, name in centre_names(module.lvc).items()}
    return published_names(module, module._published) | inside


BLOCKS = [
    pytest.param(LearnableVisualCentre, visual_centre, centre_names, id='LVC'),
    pytest.param(ExplicitVisualCentre, explicit_centre, explicit_names, id='EVC'),
]


@pytest.mark.parametrize('block, formula, names', BLOCKS)
def test_visual_centres_are_the_released_blocks(block, formula, names) -> None:
    module = randomised(block(CHANNELS, num_codes=3)).train()
    renamed = names(module)
    assert set(renamed) == set(module.state_dict())
    parameters = dict(module.named_parameters())
    weights = {renamed[key]: value for key, value in parameters.items()}
    assert_same_with_gradients(module, lambda x: formula(x, weights), features())


@pytest.mark.parametrize('block, formula, names', BLOCKS)
@pytest.mark.parametrize('inside', [False, True])
def test_released_weights_load(block, formula, names, inside: bool) -> None:
    module, other = (randomised(block(CHANNELS, num_codes=3)) for _ in range(2))
    weights = {names(module)[key]: value for key, value in module.state_dict().items()}
    if block is ExplicitVisualCentre:
        weights |= {'l_MLP.linear.weight': torch.zeros(8, 8), 'l_MLP.linear.bias': torch.zeros(8)}
    network: nn.Module = nn.Sequential(nn.ReLU(), other) if inside else other
    network.load_state_dict({'1.' * inside + key: value for key, value in weights.items()})
    x = features()
    assert torch.equal(module.eval()(x), other.eval()(x))
    # Our own names load too.
    other.load_state_dict(module.state_dict())


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UserError, match='channels must be at least 4, got 3'):
        LearnableVisualCentre(3)
    with pytest.raises(UserError, match='num_codes must be positive, got 0'):
        ExplicitVisualCentre(8, num_codes=0)
    with pytest.raises(RuntimeError, match='Unexpected key'):
        LearnableVisualCentre(8).load_state_dict(
            LearnableVisualCentre(8).state_dict() | {'other': torch.zeros(1)}
        )


@pytest.mark.parametrize('channels', [1, 2])
def test_other_sizes(channels: int) -> None:
    assert ExplicitVisualCentre(8, out_channels=5).eval()(torch.rand(1, 8, 7, 3)).shape == (
        1,
        5,
        7,
        3,
    )
    assert DeepTENHead(channels, 3).eval()(torch.rand(1, channels, 1, 9)).shape == (1, 3)
