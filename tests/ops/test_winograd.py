"""The 3x3 convolution against ``F.conv2d``, and the layer that chooses between them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmseg_encnet.nn import WinogradConv2d
from mmseg_encnet.nn.recomputation import Recomputation
from mmseg_encnet.ops import conv3x3, winograd

LAST = torch.channels_last


def literal(x: torch.Tensor, weight: torch.Tensor, dilation: int) -> torch.Tensor:
    return F.conv2d(x, weight, padding=dilation, dilation=dilation)


@pytest.mark.parametrize('layout', [torch.contiguous_format, LAST])
@pytest.mark.parametrize(
    ('size', 'dilation'),
    [((8, 8), 1), ((7, 6), 1), ((1, 1), 1), ((9, 13), 2), ((5, 2), 3), ((24, 17), 4), ((3, 3), 24)],
)
@pytest.mark.parametrize('part', [1, 2**9, 2**23])
def test_output_and_gradients(monkeypatch, size, dilation, layout, part):
    monkeypatch.setattr(winograd, '_PART', part)
    monkeypatch.setattr(winograd, '_CHANNELS', 3)
    torch.manual_seed(0)
    x = torch.randn(2, 5, *size, dtype=torch.double).to(memory_format=layout).requires_grad_()
    weight = torch.randn(3, 5, 3, 3, dtype=torch.double).requires_grad_()
    out, expected = conv3x3(x, weight, dilation), literal(x, weight, dilation)
    torch.testing.assert_close(out, expected)
    assert out.is_contiguous(memory_format=LAST)
    grad = torch.randn_like(expected)
    gradients = torch.autograd.grad(out, (x, weight), grad)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, (x, weight), grad))


def test_rounding_is_no_worse_than_that_of_the_direct_convolution():
    torch.manual_seed(0)
    x = torch.randn(1, 256, 20, 20).relu().to(memory_format=LAST)
    weight = torch.randn(64, 256, 3, 3) / 48
    exact = literal(x.double(), weight.double(), 1)
    error = (conv3x3(x, weight) - exact).abs().max() / exact.abs().max()
    assert error < 1e-6


def test_empty_batch():
    x = torch.zeros(0, 4, 6, 6, requires_grad=True)
    out = conv3x3(x, torch.ones(2, 4, 3, 3))
    assert out.shape == (0, 2, 6, 6)
    out.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize('of_x', [True, False])
def test_one_gradient_alone(of_x):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 6, 6, dtype=torch.double, requires_grad=of_x)
    weight = torch.randn(2, 2, 3, 3, dtype=torch.double, requires_grad=not of_x)
    inputs = x if of_x else weight
    (gradient,) = torch.autograd.grad(conv3x3(x, weight).square().sum(), inputs)
    (expected,) = torch.autograd.grad(literal(x, weight, 1).square().sum(), inputs)
    torch.testing.assert_close(gradient, expected)


def test_double_backward():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 5, 4, dtype=torch.double, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda *inputs: conv3x3(*inputs, 2), (x, weight))


@pytest.mark.parametrize(
    ('x', 'weight', 'dilation', 'message'),
    [
        (torch.zeros(4, 6, 6), torch.zeros(2, 4, 3, 3), 1, r'expected \(B, C, H, W\)'),
        (torch.zeros(1, 4, 6, 6).half(), torch.zeros(2, 4, 3, 3).half(), 1, 'float16'),
        (torch.zeros(1, 4, 0, 6), torch.zeros(2, 4, 3, 3), 1, r'\(1, 4, 0, 6\)'),
        (torch.zeros(1, 4, 6, 6), torch.zeros(2, 5, 3, 3), 1, r'expected \(O, 4, 3, 3\)'),
        (torch.zeros(1, 4, 6, 6), torch.zeros(2, 4, 1, 1), 1, r'expected \(O, 4, 3, 3\)'),
        (torch.zeros(1, 4, 6, 6), torch.zeros(2, 4, 3, 3).double(), 1, 'float64'),
        (torch.zeros(1, 4, 6, 6), torch.zeros(2, 4, 3, 3), 0, 'positive, got 0'),
    ],
)
def test_refused_inputs(x, weight, dilation, message):
    with pytest.raises(ValueError, match=message):
        conv3x3(x, weight, dilation)


@pytest.fixture
def calls(monkeypatch):
    """Count the calls of the operator in the layer."""
    counted = []

    def count(*inputs):
        counted.append(inputs)
        return conv3x3(*inputs)

    monkeypatch.setattr('mmseg_encnet.nn.convolution.conv3x3', count)
    return counted


def layers(**options) -> tuple[nn.Conv2d, nn.Conv2d]:
    options = dict(in_channels=256, out_channels=256, kernel_size=3, padding=1) | options
    own, plain = WinogradConv2d(**options), nn.Conv2d(**options)
    plain.load_state_dict(own.state_dict())
    return own, plain


def features(size: tuple[int, int] = (30, 30), channels: int = 256) -> torch.Tensor:
    return torch.randn(1, channels, *size).to(memory_format=LAST)


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('dilation', [1, 2])
def test_layer_takes_the_operator(calls, bias, dilation):
    own, plain = layers(bias=bias, dilation=dilation, padding=dilation)
    x = features()
    torch.testing.assert_close(own(x), plain(x), rtol=1e-4, atol=1e-5)
    assert len(calls) == 1


@pytest.mark.parametrize(
    'options',
    [
        dict(in_channels=128),
        dict(out_channels=128),
        dict(kernel_size=1, padding=0),
        dict(kernel_size=5, padding=2),
        dict(stride=2),
        dict(padding=0),
        dict(padding='same'),
        dict(padding=(1, 2), dilation=(1, 2)),
        dict(groups=2),
        dict(padding_mode='reflect'),
    ],
    ids=str,
)
def test_other_layers_are_plain(calls, options):
    own, plain = layers(**options)
    x = features(channels=own.in_channels)
    torch.testing.assert_close(own(x), plain(x), rtol=0, atol=0)
    assert not calls


@pytest.mark.parametrize(
    'x',
    [
        features().contiguous(),
        features()[0],
        features((1, 900)),
        features((29, 29)),
        features().double(),
        torch.empty(1, 256, 8, 8, device='meta'),
    ],
    ids=['contiguous', 'no batch', 'lower than the tiles', 'few positions', 'double', 'meta'],
)
def test_other_inputs_are_convolved_as_usual(calls, x):
    own, plain = (layer.to(x.dtype).to(x.device) for layer in layers())
    out, expected = own(x), plain(x)
    assert out.shape == expected.shape
    if x.device.type != 'meta':
        torch.testing.assert_close(out, expected, rtol=0, atol=0)
    assert not calls


def test_autocast_and_functional_transforms_are_plain(calls):
    own, plain = layers(bias=False)
    x = features()
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(own(x), plain(x), rtol=0, atol=0)

    def loss(weight):
        return torch.func.functional_call(own, dict(weight=weight), x).square().mean()

    gradient = torch.func.grad(loss)(own.weight.detach())
    assert gradient.shape == own.weight.shape
    traced = torch.jit.trace(own, x, check_trace=False)
    torch.testing.assert_close(traced(x), plain(x), rtol=0, atol=0)
    assert not calls


def test_layer_is_recomputed():
    torch.manual_seed(0)
    conv, _ = layers(bias=False)
    norm, act = nn.BatchNorm2d(256), nn.ReLU(inplace=True)
    x = features()
    gradients = []
    for products in (0, 9 * 256):
        conv.zero_grad()
        with Recomputation(products) as lean:
            out = lean.activate(lean.convolve(x, conv), norm, act)
        out.square().mean().backward()
        gradients.append(conv.weight.grad.clone())
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def test_networks_use_it(calls):
    from mmseg.utils import register_all_modules

    from mmseg_encnet.models import EncodingHead, ResNetV1s

    register_all_modules()
    torch.manual_seed(0)
    options = dict(in_channels=[256], in_index=[0], channels=256, num_classes=3)
    head, plain = EncodingHead(**options), EncodingHead(**options, conv_cfg=dict(type='Conv2d'))
    plain.load_state_dict(head.state_dict())
    x = features()
    torch.testing.assert_close(head.eval()([x])[0], plain.eval()([x])[0], rtol=1e-4, atol=1e-5)
    assert len(calls) == 1
    backbone = ResNetV1s(18)
    backbone(torch.randn(1, 3, 256, 256).to(memory_format=LAST))
    assert len(calls) > 1
