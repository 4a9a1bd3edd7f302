"""The networks of the shipped configs in mixed precision, compiled, accumulated and wrapped.

Every parameter takes part in the loss (:mod:`test_configs`), so ``find_unused_parameters`` stays
off for all of them. What runs on the CPU runs here at an eighth of the widths; mixed precision with
the toolbox's own wrapper needs a GPU.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from test_configs import batch, load, shrink
from test_meta_device import KINDS
from torch import distributed, nn

from mmseg_encnet.running.runner import EncNetRunner

# Networks that differ in what this package adds: dilated, JPU, transformer, no SE branch, the
# paper's second SE branch.
FEW = [
    'encnet_r18_msrc21',
    'encnet_r50_jpu_pcontext',
    'encnet_mit-b0_ade20k',
    'encnet_r50_pcontext_no-se',
    'encnet_r50_pcontext_paper',
]


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope('mmseg')


def build(name: str, device: str = 'cpu') -> nn.Module:
    torch.manual_seed(0)
    network = MODELS.build(shrink(load(name)).model)
    network.init_weights()
    return revert_sync_batchnorm(network).to(device)


def loss_of(network: nn.Module) -> torch.Tensor:
    data = network.data_preprocessor(batch(network.num_classes), training=True)
    return network.parse_losses(network.loss(**data))[0]


def gradients(network: nn.Module) -> dict[str, torch.Tensor]:
    found = {name: value.grad for name, value in network.named_parameters()}
    assert all(grad is not None and grad.isfinite().all() for grad in found.values())
    assert all(grad.dtype == torch.float32 for grad in found.values())
    return found


def assert_similar(network: nn.Module, other: nn.Module, bound: float) -> None:
    """Compare the gradients of two networks as one vector: single layers may differ more."""
    pairs = zip(gradients(network).values(), gradients(other).values(), strict=True)
    change, size = 0.0, 0.0
    for one, two in pairs:
        change += (one - two).square().sum().item()
        size += one.square().sum().item()
    assert change <= bound**2 * size


@pytest.mark.parametrize(
    'name, dtype',
    # Most CPUs convert from and to half precision for each operation.
    [*((name, torch.bfloat16) for name in FEW), (FEW[0], torch.float16)],
)
def test_mixed_precision_with_a_loss_scale(name, dtype):
    network = build(name)
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    scaler = torch.amp.GradScaler('cpu', init_scale=256.0, enabled=dtype == torch.float16)
    with torch.autocast('cpu', dtype=dtype):
        loss = loss_of(network)
    assert loss.dtype == torch.float32
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    gradients(network)
    scaler.step(optimizer)
    scaler.update()
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters()))
    network.eval()
    with torch.no_grad(), torch.autocast('cpu', dtype=dtype):
        (prediction, _) = network.val_step(batch(network.num_classes))
    assert prediction.seg_logits.data.isfinite().all()


@pytest.mark.parametrize('name', FEW)
def test_channels_last_changes_rounding_only(name):
    network = build(name).eval()
    other = copy.deepcopy(network).to(memory_format=torch.channels_last)
    for one in (network, other):
        loss_of(one).backward()
    assert_similar(network, other, 1e-3)


@pytest.mark.parametrize('name', FEW[:2])
def test_accumulated_gradients_are_the_sum(name):
    network = build(name).eval()
    other = copy.deepcopy(network)
    settings = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    wrapper = build_optim_wrapper(other, dict(settings, accumulative_counts=2))
    before = [parameter.detach().clone() for parameter in other.parameters()]
    wrapper.update_params(loss_of(other))
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters()))
    wrapper.update_params(loss_of(other))
    single = build_optim_wrapper(network, settings)
    single.update_params(loss_of(network))
    for one, two in zip(network.parameters(), other.parameters()):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', FEW[1:4])
def test_the_head_compiles_in_one_graph(name):
    network = build(name)
    features = network.extract_feat(torch.rand(2, 3, 64, 64))
    head = network.decode_head
    compiled = torch.compile(head.forward_context, backend='eager', fullgraph=True)
    torch.manual_seed(1)
    expected = head.forward_context(features).seg_logits
    torch.manual_seed(1)
    result = compiled(features).seg_logits
    torch.testing.assert_close(result, expected)
    result.sum().backward()
    assert head.enc_module.encoder.codewords.grad is not None


@contextlib.contextmanager
def process_group(path: Path) -> Iterator[None]:
    distributed.init_process_group('gloo', init_method=f'file://{path}', rank=0, world_size=1)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize('name', FEW)
def test_a_static_graph_without_unused_parameters(name, tmp_path):
    with process_group(tmp_path / 'store'):
        network = build(name)
        wrapped = MMDistributedDataParallel(
            copy.deepcopy(network), static_graph=True, find_unused_parameters=False
        )
        optimizer = torch.optim.SGD(wrapped.parameters(), 0.0)
        for _ in range(2):
            optimizer.zero_grad()
            data = wrapped.module.data_preprocessor(batch(network.num_classes), training=True)
            torch.manual_seed(0)
            losses = wrapped(**data, mode='loss')
            wrapped.module.parse_losses(losses)[0].backward()
            optimizer.step()
        assert gradients(wrapped.module)


def test_options_of_the_wrapper_in_a_config(tmp_path):
    runner = SimpleNamespace(distributed=True, cfg={'find_unused_parameters': False})
    model = nn.Linear(2, 2)
    with process_group(tmp_path / 'store'):
        for options in (None, {}, {'type': 'MMDistributedDataParallel', 'static_graph': True}):
            wrapped = EncNetRunner.wrap_model(runner, options, model)
            assert isinstance(wrapped, MMDistributedDataParallel)
            assert wrapped.static_graph == bool(options)
            assert not wrapped.find_unused_parameters and not wrapped.broadcast_buffers


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('name', KINDS)
@pytest.mark.parametrize(
    'amp',
    [
        dict(type='OptimWrapper'),
        dict(type='AmpOptimWrapper', loss_scale='dynamic', dtype='float16'),
        dict(type='AmpOptimWrapper', dtype='bfloat16'),
        dict(type='AmpOptimWrapper', dtype='bfloat16', accumulative_counts=2),
    ],
)
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_modes_on_the_gpu(name, amp, layout):
    network = build(name, 'cuda').to(memory_format=layout)
    wrapper = build_optim_wrapper(network, dict(amp, optimizer=dict(type='SGD', lr=1e-3)))
    for _ in range(3):
        with wrapper.optim_context(network):
            loss = loss_of(network)
        assert loss.isfinite()
        wrapper.update_params(loss)
    assert all(parameter.isfinite().all() for parameter in network.parameters())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('name', FEW)
def test_the_compiled_network_on_the_gpu(name):
    network = build(name, 'cuda').eval()
    other = copy.deepcopy(network)
    other.decode_head.forward_context = torch.compile(other.decode_head.forward_context)
    for one in (network, other):
        loss_of(one).backward()
    assert_similar(network, other, 1e-2)
