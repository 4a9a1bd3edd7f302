"""Recomputed activations: the gradients of plain layers, and what is kept."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mmseg_encnet.nn.recomputation import Recomputation
from mmseg_encnet.workbench.memory.meter import Meter

CHANNELS = 4


class Layers(nn.Module):
    """Convolutions of 3x3 and 1x1, each followed by a norm and a ReLU."""

    def __init__(self, norm=nn.BatchNorm2d, act=None) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(CHANNELS, CHANNELS, size, padding=size // 2, bias=False) for size in (3, 1, 3)
        )
        self.norms = nn.ModuleList(norm(CHANNELS) for _ in self.convs)
        self.act = nn.ReLU(inplace=True) if act is None else act
        for norm in self.norms:
            if norm.weight is not None:
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.uniform_(norm.bias, -1, 1)

    def plain(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms):
            x = self.act(norm(conv(x)))
        return x

    def lean(self, x: Tensor, products: int) -> Tensor:
        with Recomputation(products) as lean:
            for conv, norm in zip(self.convs, self.norms):
                x = lean.activate(lean.convolve(x, conv), norm, self.act)
            return x


def gradients(layers: Layers, x: Tensor, products: int | None) -> list[Tensor]:
    layers = copy.deepcopy(layers)
    x = x.detach().requires_grad_()
    out = layers.plain(x) if products is None else layers.lean(x, products)
    (out.float() ** 2).sum().backward()
    return [out, x.grad, *(p.grad for p in layers.parameters()), *layers.buffers()]


def no_statistics(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, track_running_stats=False)


def without_weights(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, affine=False)


def group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(2, channels)


@pytest.mark.parametrize('products', [0, CHANNELS])
@pytest.mark.parametrize(
    'norm',
    [nn.BatchNorm2d, nn.SyncBatchNorm, no_statistics, without_weights, group_norm],
)
@pytest.mark.parametrize('setting', ['plain', 'double', 'channels last', 'autocast', 'frozen'])
def test_gradients_are_those_of_the_plain_layers(norm, setting, products):
    torch.manual_seed(0)
    layers, x = Layers(norm), torch.randn(2, CHANNELS, 9, 7)
    if setting == 'double':
        layers, x = layers.double(), x.double()
    elif setting == 'channels last':
        x = x.contiguous(memory_format=torch.channels_last)
    elif setting == 'frozen':
        layers.plain(x)
        layers.eval()
    with torch.autocast('cpu', torch.bfloat16, enabled=setting == 'autocast'):
        expected = gradients(layers, x, None)
        found = gradients(layers, x, products)
    for value, target in zip(found, expected):
        # On processors with FMA they are equal.
        torch.testing.assert_close(value, target, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('act', [nn.ReLU(), nn.LeakyReLU(inplace=True), nn.Identity()])
def test_other_activations_run_as_they_are(act):
    torch.manual_seed(0)
    layers, x = Layers(act=act), torch.randn(2, CHANNELS, 5, 5)
    for value, target in zip(gradients(layers, x, CHANNELS), gradients(layers, x, None)):
        assert torch.equal(value, target)


@pytest.mark.parametrize('products', [0, CHANNELS])
def test_first_and_second_derivatives(products):
    torch.manual_seed(0)
    layers = Layers().double()
    x = torch.randn(2, CHANNELS, 3, 3, dtype=torch.double, requires_grad=True)

    def run(x: Tensor) -> Tensor:
        return layers.lean(x, products)

    assert torch.autograd.gradcheck(run, x)
    assert torch.autograd.gradgradcheck(run, x)


@pytest.mark.parametrize('products, kept', [(None, 6), (0, 4), (CHANNELS, 3)])
def test_kept_activations(products, kept):
    """Six without recomputation: the input of each norm and the output of each ReLU."""
    layers = Layers().to('meta')
    x = torch.empty(2, CHANNELS, 64, 64, device='meta')
    with Meter() as meter:
        meter.add(x)
        before = meter.total
        out = layers.plain(x) if products is None else layers.lean(x, products)
        # The output itself exists in any case. Statistics are small.
        assert round((meter.total - before) / x.nbytes) == kept
        out.sum().backward()


def test_a_graph_that_is_kept_gives_the_same_gradients_again():
    torch.manual_seed(0)
    layers, x = Layers(), torch.randn(2, CHANNELS, 5, 5, requires_grad=True)
    loss = (layers.lean(x, CHANNELS) ** 2).sum()
    first, second = (torch.autograd.grad(loss, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_hooks_of_modules_are_called_once_and_may_change_the_result():
    torch.manual_seed(0)
    layers, x = Layers(), torch.randn(2, CHANNELS, 5, 5)
    calls = []

    def hook(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        calls.append(module)
        return output * 2

    for module in (layers.norms[0], layers.convs[1]):
        module.register_forward_hook(hook)
    expected = gradients(layers, x, None)
    assert len(calls) == 2
    for value, target in zip(gradients(layers, x, CHANNELS), expected):
        torch.testing.assert_close(value, target)
    assert len(calls) == 4


def test_weights_changed_before_backward_are_an_error():
    layers, x = Layers(), torch.randn(2, CHANNELS, 5, 5)
    loss = layers.lean(x, 0).sum()
    with torch.no_grad():
        layers.norms[1].bias += 1
    with pytest.raises(RuntimeError, match='modified in place'):
        loss.backward()


def test_under_torch_func_nothing_is_recomputed():
    torch.manual_seed(0)
    layers, x = Layers().eval(), torch.randn(2, CHANNELS, 5, 5)
    found = torch.func.grad(lambda x: layers.lean(x, CHANNELS).sum())(x)
    expected = torch.func.grad(lambda x: layers.plain(x).sum())(x)
    torch.testing.assert_close(found, expected)


def test_compiled():
    torch.manual_seed(0)
    layers, x = Layers(), torch.randn(2, CHANNELS, 5, 5)
    compiled = torch.compile(layers.lean, backend='eager', fullgraph=True)
    torch.testing.assert_close(compiled(x, CHANNELS), layers.plain(x))
