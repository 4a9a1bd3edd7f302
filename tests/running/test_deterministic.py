"""Training with deterministic algorithms: no operation without one, and the same bits twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from tiny_setup import MSRC21, SHRUNK
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.configuration.switches import use_deterministic_algorithms
from mmseg_encnet.errors import UserError
from mmseg_encnet.models.segmentors import ContextEncoderDecoder
from mmseg_encnet.ops.auto import SETTING
from mmseg_encnet.ops.upsampled_cross_entropy import backends
from mmseg_encnet.running.explain import explain

# Operations that PyTorch refuses on CUDA with deterministic algorithms, by their names in ATen;
# from the documentation of torch.use_deterministic_algorithms. Bilinear interpolation is not among
# them: with deterministic algorithms, interpolate() computes it from gathers.
REFUSED = {
    'adaptive_avg_pool2d_backward',
    'adaptive_avg_pool3d_backward',
    'adaptive_max_pool2d_backward',
    'avg_pool3d_backward',
    'fractional_max_pool2d_backward',
    'fractional_max_pool3d_backward',
    'max_unpool2d',
    'max_unpool3d',
    'upsample_linear1d_backward',
    'upsample_bicubic2d_backward',
    'upsample_trilinear3d_backward',
    'reflection_pad1d_backward',
    'reflection_pad2d_backward',
    'reflection_pad3d_backward',
    'nll_loss2d_forward',
    'ctc_loss_backward',
    'embedding_bag',
    'put',
    'put_',
    'histc',
    'bincount',
    'median',
    'kthvalue',
    'grid_sampler_2d_backward',
    'grid_sampler_3d_backward',
    'cumsum',
    'cumprod',
}


class Refusing(TorchDispatchMode):
    """Record the operations that a GPU would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name = function.overloadpacket.__name__.lstrip('_')
        exempt = (
            # Only sums of floating-point numbers depend on their order.
            (name in ('cumsum', 'cumprod') and not args[0].is_floating_point())
            or (name == 'bincount' and len(args) < 2)
        )
        if name in REFUSED and not exempt:
            self.refused.add(name)
        return function(*args, **(kwargs or {}))


def network(**heads: Any) -> ContextEncoderDecoder:
    cfg = load_config(str(MSRC21), SHRUNK)
    torch.manual_seed(0)
    for key, value in heads.items():
        cfg.model[key] = value
    return MODELS.build(cfg.model).train()


def loss_of(model: ContextEncoderDecoder, device: str = 'cpu') -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict(img_shape=(48, 48), ori_shape=(48, 48)))
        labels = torch.randint(0, 21, (1, 48, 48), generator=rng)
        labels[:, :5] = 255
        sample.gt_sem_seg = PixelData(data=labels.to(device))
        samples.append(sample)
    images = torch.randn(2, 3, 48, 48, generator=rng).to(device)
    return model.parse_losses(model.loss(images, samples))[0]


def head(kind: str, loss: str = 'SyncCrossEntropyLoss', **more: Any) -> dict[str, Any]:
    common = dict(in_channels=32, in_index=2, channels=8, num_classes=21)
    return dict(type=kind, loss_decode=dict(type=loss), **common, **more)


HEADS: dict[str, Callable[[], dict[str, Any]]] = {
    'EncNet': dict,
    'second SE loss': lambda: dict(
        auxiliary_head=dict(
            type='AuxEncodingHead', in_channels=32, in_index=2, num_classes=21, num_codes=4
        )
    ),
    'presence': lambda: dict(
        decode_head=head('FCNHead'),
        auxiliary_head=dict(
            type='PresenceHead', in_channels=32, in_index=2, num_classes=21, num_codes=4
        ),
    ),
    'FCN': lambda: dict(decode_head=head('FCNHead'), auxiliary_head=None),
    'DeepLabV3': lambda: dict(decode_head=head('ASPPHead', dilations=(1, 2))),
}
# Of the toolbox: the pooling of PSPNet has no deterministic gradient.
REFUSED_HEADS = {
    'PSPNet': (lambda: dict(decode_head=head('PSPHead')), 'adaptive_avg_pool2d_backward'),
    'loss of the toolbox': (
        lambda: dict(decode_head=head('FCNHead', 'CrossEntropyLoss')),
        'nll_loss2d_forward',
    ),
}


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Select the backends that run on a GPU with deterministic algorithms."""
    monkeypatch.setenv(SETTING, 'dense')
    native = replace(backends.BACKENDS['native'], refusal=lambda *tensors: 'for CPUs')
    monkeypatch.setitem(backends.BACKENDS, 'native', native)


@pytest.fixture(autouse=True)
def _deterministic() -> Any:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize('name', HEADS)
def test_no_operation_of_a_training_step_is_refused(name, as_on_a_gpu):
    assert refused_by(HEADS[name]()) == set()


@pytest.mark.parametrize('name', REFUSED_HEADS)
def test_the_check_finds_refused_operations(name, as_on_a_gpu):
    heads, expected = REFUSED_HEADS[name]
    assert expected in refused_by(heads())


def refused_by(heads: dict[str, Any]) -> set[str]:
    model = network(**heads)
    with Refusing() as mode:
        loss_of(model).backward()
    return mode.refused


def test_switch(run_tool, tiny_options, tmp_path, monkeypatch):
    # Restored afterwards.
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':16:8')
    torch.use_deterministic_algorithms(False)
    result = run_tool(
        'train', MSRC21, '--work-dir', 'work', '--deterministic', options=tiny_options
    )
    assert result.status == 0
    written = (tmp_path / 'work' / 'config.py').read_text()
    assert 'deterministic=True' in written


def test_config_switch_sets_what_cublas_needs():
    cfg = load_config(str(MSRC21), SHRUNK)
    use_deterministic_algorithms(cfg)
    assert cfg.randomness.deterministic and not cfg.env_cfg.cudnn_benchmark


def test_refused_operation_is_explained():
    message = (
        'adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you '
        "set 'torch.use_deterministic_algorithms(True)'."
    )
    sentence = explain(RuntimeError(message))
    assert 'adaptive_avg_pool2d_backward_cuda' in sentence and '--deterministic' in sentence
    assert not isinstance(sentence, UserError)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
@pytest.mark.parametrize('name', HEADS)
def test_two_runs_on_a_gpu_have_the_same_bits(name, monkeypatch):
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    runs = []
    for _ in range(2):
        model = network(**HEADS[name]()).cuda()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        torch.manual_seed(0)
        for _ in range(2):
            optimizer.zero_grad()
            loss_of(model, 'cuda').backward()
            optimizer.step()
        runs.append([value.cpu() for value in model.state_dict().values()])
    for one, other in zip(*runs):
        assert torch.equal(one, other)
