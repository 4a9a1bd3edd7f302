"""The depthwise convolution against ``F.conv2d``, and the layer that chooses between them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmseg_encnet.nn import DepthwiseConv2d
from mmseg_encnet.ops import depthwise_conv2d

LAST = torch.channels_last


def literal(x: torch.Tensor, weight: torch.Tensor, dilation: int) -> torch.Tensor:
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, padding=padding, dilation=dilation, groups=len(weight))


def inputs(batch: int = 2, kernel: int = 3, size: tuple[int, int] = (6, 5)) -> list[torch.Tensor]:
    torch.manual_seed(0)
    shapes = (batch, 3, *size), (3, 1, kernel, kernel)
    return [torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize('layout', [torch.contiguous_format, LAST])
@pytest.mark.parametrize('dilation', [1, 2, 3])
@pytest.mark.parametrize('kernel', [1, 3, 5])
@pytest.mark.parametrize('size', [(8, 8), (9, 6), (1, 1), (2, 17)])
@pytest.mark.parametrize('batch', [0, 1, 3])
def test_output_and_gradients(batch, size, kernel, dilation, layout):
    x, weight = inputs(batch, kernel, size)
    stored = x.to(memory_format=layout)
    out, expected = depthwise_conv2d(stored, weight, dilation), literal(stored, weight, dilation)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)
    grad = torch.randn_like(expected)
    gradients = torch.autograd.grad(out, (x, weight), grad)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, (x, weight), grad))


@pytest.mark.parametrize('of_x', [True, False])
def test_one_gradient_alone(of_x):
    x, weight = inputs()
    (weight if of_x else x).requires_grad_(False)
    of = x if of_x else weight
    (gradient,) = torch.autograd.grad(depthwise_conv2d(x, weight).square().sum(), of)
    (expected,) = torch.autograd.grad(literal(x, weight, 1).square().sum(), of)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize('dilation', [1, 2, 3])
def test_double_backward(dilation):
    assert torch.autograd.gradgradcheck(
        lambda *tensors: depthwise_conv2d(*tensors, dilation), inputs(1)
    )


@pytest.mark.parametrize(
    ('x', 'weight', 'dilation', 'message'),
    [
        (torch.zeros(4, 6, 6), torch.zeros(4, 1, 3, 3), 1, r'expected \(B, C, H, W\)'),
        (torch.zeros(1, 4, 6, 6), torch.zeros(2, 1, 3, 3), 1, r'expected \(4, 1, k, k\)'),
        (torch.zeros(1, 4, 6, 6), torch.zeros(4, 2, 3, 3), 1, r'expected \(4, 1, k, k\)'),
        (torch.zeros(1, 4, 6, 6), torch.zeros(4, 1, 3, 5), 1, r'expected \(4, 1, k, k\)'),
        (torch.zeros(1, 4, 6, 6), torch.zeros(4, 1, 2, 2), 1, 'odd k'),
        (torch.zeros(1, 4, 6, 6), torch.tensor(1.0), 1, r'shape \(\)'),
        (torch.zeros(1, 4, 6, 6), torch.zeros(4, 1, 3, 3).double(), 1, 'float64'),
        (torch.zeros(1, 4, 6, 6), torch.zeros(4, 1, 3, 3), 0, 'positive, got 0'),
    ],
)
def test_refused_inputs(x, weight, dilation, message):
    with pytest.raises(ValueError, match=message):
        depthwise_conv2d(x, weight, dilation)


@pytest.fixture
def calls(monkeypatch):
    """Count the calls of the operator in the layer."""
    counted = []

    def count(*tensors):
        counted.append(tensors)
        return depthwise_conv2d(*tensors)

    monkeypatch.setattr('mmseg_encnet.nn.convolution.depthwise_conv2d', count)
    return counted


def layers(**options) -> tuple[nn.Conv2d, nn.Conv2d]:
    options = (
        dict(in_channels=4, out_channels=4, kernel_size=3, padding=2, dilation=2, groups=4)
        | options
    )
    own, plain = DepthwiseConv2d(**options), nn.Conv2d(**options)
    plain.load_state_dict(own.state_dict())
    return own, plain


def outputs_and_gradients(conv: nn.Conv2d, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    out = conv(x)
    return [out, *torch.autograd.grad(out.square().sum(), (x, *conv.parameters()))]


@pytest.mark.parametrize(
    'options',
    [dict(), dict(bias=False), dict(kernel_size=5, padding=4), dict(kernel_size=5, dilation=1)],
    ids=str,
)
def test_layer_takes_the_operator(calls, options):
    own, plain = layers(**options)
    x = torch.randn(2, 4, 9, 8)
    found, expected = outputs_and_gradients(own, x), outputs_and_gradients(plain, x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert len(calls) == 1


@pytest.mark.parametrize(
    'options',
    [
        dict(dilation=1, padding=1),
        dict(stride=2),
        dict(padding=1),
        dict(padding='same'),
        dict(padding=(1, 2), dilation=(1, 2)),
        dict(kernel_size=(3, 1), padding=(2, 0)),
        dict(kernel_size=4, padding=4),
        dict(groups=2),
        dict(out_channels=8),
        dict(padding_mode='reflect'),
    ],
    ids=str,
)
def test_other_layers_are_plain(calls, options):
    own, plain = layers(**options)
    x = torch.randn(2, 4, 9, 8)
    found, expected = outputs_and_gradients(own, x), outputs_and_gradients(plain, x)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not calls


@pytest.mark.parametrize('of', ['float32', 'bfloat16 features', 'bfloat16 layer'])
@pytest.mark.parametrize('options', [dict(), dict(bias=False), dict(kernel_size=5, padding=4)])
def test_bfloat16(calls, options, of):
    own, plain = layers(**options)
    x = torch.randn(2, 4, 9, 8)
    expected = outputs_and_gradients(plain, x)
    if of == 'bfloat16 layer':
        own = own.bfloat16()
    with torch.autocast('cpu', torch.bfloat16, enabled=of != 'bfloat16 layer'):
        found = outputs_and_gradients(own, x if of == 'float32' else x.bfloat16())
    assert found[0].dtype == torch.bfloat16
    assert [grad.dtype for grad in found[2:]] == [p.dtype for p in own.parameters()]
    for value, wanted in zip(found, expected):
        difference = (value.float() - wanted).norm() / wanted.norm()
        assert difference < 0.02
    assert len(calls) == 1


def test_transformations_and_other_inputs_are_plain(calls):
    own, plain = layers()
    x = torch.randn(2, 4, 9, 8)
    with torch.autocast('cpu', torch.float16):
        torch.testing.assert_close(own(x), plain(x), rtol=0, atol=0)
    torch.testing.assert_close(own(x[0]), plain(x[0]), rtol=0, atol=0)
    traced = torch.jit.trace(own, x, check_trace=False)
    torch.testing.assert_close(traced(x), plain(x), rtol=0, atol=0)

    def loss(weight):
        return torch.func.functional_call(own, dict(weight=weight), x).square().mean()

    assert torch.func.grad(loss)(own.weight.detach()).shape == own.weight.shape
    own, plain = own.double(), plain.double()
    for autocast in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            torch.testing.assert_close(own(x.double()), plain(x.double()), rtol=0, atol=0)
    assert not calls


def test_the_backbone_uses_it(calls):
    from mmseg_encnet.models import EfficientNetLite

    backbone = EfficientNetLite(0, output_stride=16)
    backbone(torch.randn(1, 3, 32, 32))
    # Blocks with 5x5 filters at stride 1, and the 3x3 filters of the dilated last block.
    assert len(calls) == 1 + 3 + 4 + 1
