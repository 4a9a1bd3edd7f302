"""The choice among implementations by timing, with a fake clock and fake implementations."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.ops import encode
from mmseg_encnet.ops.auto import SETTING, Automatic
from mmseg_encnet.ops.autotune import Autotuner
from mmseg_encnet.ops.backends import Backend
from mmseg_encnet.ops.encode import BACKENDS, check_backend
from mmseg_encnet.ops.encode.backends import inputs_text
from mmseg_encnet.ops.encode.reference import encode as reference
from mmseg_encnet.ops.upsampled_cross_entropy import backends as loss
from mmseg_encnet.ops.upsampled_cross_entropy.reference import sums as loss_reference

CPU = frozenset({'cpu'})


class Fake:
    """An implementation that counts its calls and takes a given time on the fake clock."""

    def __init__(self, seconds: float, compute: Callable[..., Tensor] = reference) -> None:
        self.seconds, self.compute, self.calls = seconds, compute, 0

    def __call__(self, *tensors: Tensor) -> Tensor:
        self.calls += 1
        Clock.now += self.seconds
        return self.compute(*tensors)


class Clock:
    now = 0.0

    @classmethod
    def seconds(cls, call: Callable[[], object], device: torch.device) -> float:
        start = cls.now
        call()
        return cls.now - start


@pytest.fixture
def tuner(tmp_path) -> Callable[..., Autotuner]:
    def build(card: str = 'Fake 9000', folder: Path = tmp_path) -> Autotuner:
        return Autotuner('encode', inputs_text, Clock.seconds, lambda: folder, lambda device: card)

    return build


def inputs(batch=2, channels=8, positions=12, codes=3, grad=True, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, channels, positions, generator=generator).to(dtype)
    codewords = torch.rand(codes, channels, generator=generator)
    scale = -torch.rand(codes, generator=generator)
    return tuple(tensor.requires_grad_(grad) for tensor in (x, codewords, scale))


def automatic(tuner: Autotuner, devices=CPU, **runs: Callable[..., Tensor]) -> Automatic:
    backends = {name: Backend(name, run, lambda *tensors: None) for name, run in runs.items()}
    names = list(backends)
    return Automatic(backends, names[:1], names, tuner, devices)


def test_the_faster_is_chosen_once_for_a_class(tuner):
    slow, fast = Fake(2.0), Fake(1.0)
    auto = automatic(tuner(), dense=slow, triton=fast)
    assert auto.run_for(*inputs()) is fast
    calls = slow.calls, fast.calls
    assert auto.run_for(*inputs()) is fast
    # 12 and 10 positions are in the class up to 16, and 5 are not.
    assert auto.run_for(*inputs(positions=10)) is fast
    assert (slow.calls, fast.calls) == calls
    assert auto.run_for(*inputs(positions=5)) is fast
    assert slow.calls > calls[0]


@pytest.mark.parametrize(
    'change',
    [
        dict(batch=4), dict(channels=16), dict(codes=4), dict(grad=False),
        dict(dtype=torch.bfloat16),
    ],
)  # fmt: skip
def test_classes_of_inputs(tuner, change):
    dense = Fake(2.0)
    auto = automatic(tuner(), dense=dense, triton=Fake(1.0))
    auto.run_for(*inputs())
    calls = dense.calls
    auto.run_for(*inputs(**change))
    assert dense.calls > calls


def loss_inputs(size=(8, 10), label_size=(20, 30), weights=False, classes=3, grad=True):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, classes, *size, generator=generator).requires_grad_(grad)
    label = torch.randint(classes, (2, *label_size), generator=generator)
    weight = torch.ones(classes) if weights else None
    return logits, label, weight, None, False, 255, 0.0, False


def test_an_operator_with_options_and_several_results(tmp_path):
    """The loss: only the first result has a gradient, and counts may differ by rounding."""

    def counts_one_more(*arguments):
        total, divisor, correct, labelled = loss_reference(*arguments)
        return total, divisor, correct + 1, labelled

    def wrong_divisor(*arguments):
        total, divisor, *counts = loss_reference(*arguments)
        return total, divisor + 9, *counts

    tuner = Autotuner('loss', loss.inputs_text, Clock.seconds, lambda: tmp_path, lambda device: 'F')
    strips, fast = Fake(2.0, loss_reference), Fake(1.0, counts_one_more)
    auto = automatic(tuner, strips=strips, triton=fast, other=Fake(0.5, wrong_divisor))
    with pytest.warns(UserWarning, match="'other'.*results differ"):
        assert auto.run_for(*loss_inputs()) is fast
    calls = strips.calls
    assert auto.run_for(*loss_inputs(label_size=(25, 25))) is fast
    assert strips.calls == calls
    for change in (dict(weights=True), dict(classes=4), dict(grad=False), dict(size=(20, 10))):
        assert auto.run_for(*loss_inputs(**change)) is fast
        assert strips.calls > calls
        calls = strips.calls


def test_a_tie_goes_to_the_reference(tuner):
    dense = Fake(1.0)
    assert automatic(tuner(), dense=dense, triton=Fake(1.0)).run_for(*inputs()) is dense


def test_the_call_leaves_no_trace_in_the_arguments(tuner):
    tensors = inputs()
    values = [tensor.detach().clone() for tensor in tensors]
    packed = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: packed.append(tensor) or tensor, lambda tensor: tensor
    ):
        automatic(tuner(), dense=Fake(2.0), triton=Fake(1.0)).run_for(*tensors)
    # Activation checkpointing compares what two runs save.
    assert not packed
    assert all(tensor.grad is None for tensor in tensors)
    assert all(torch.equal(tensor, value) for tensor, value in zip(tensors, values))


def test_later_processes_read_the_choice(tuner, tmp_path):
    first = automatic(tuner(), dense=Fake(2.0), triton=Fake(1.0))
    first.run_for(*inputs())
    (file,) = tmp_path.iterdir()
    assert torch.__version__ in file.name
    assert list(json.loads(file.read_text()).values()) == ['triton']

    dense, triton = Fake(1.0), Fake(2.0)
    assert automatic(tuner(), dense=dense, triton=triton).run_for(*inputs()) is triton
    assert dense.calls == triton.calls == 0
    # Another card is measured again, and so is a choice that no longer exists.
    assert automatic(tuner(card='Other'), dense=dense, triton=triton).run_for(*inputs()) is dense
    fixed = Fake(1.5)
    assert automatic(tuner(), dense=Fake(2.0), other=fixed).run_for(*inputs()) is fixed


@pytest.mark.parametrize(
    'content', [b'', b'{"a": ', b'[]', b'\xff\xfe', b'[' * 100_000, b'{"class": 3}']
)
def test_a_corrupted_file_is_ignored_and_replaced(tuner, tmp_path, content):
    automatic(tuner(), dense=Fake(2.0), triton=Fake(1.0)).run_for(*inputs())
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    fast = Fake(1.0)
    assert automatic(tuner(), dense=fast, triton=Fake(2.0)).run_for(*inputs()) is fast
    assert 'dense' in json.loads(file.read_text()).values()
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_cannot_be_written_is_no_error(tuner, tmp_path):
    (tmp_path / 'file').touch()
    fast = Fake(1.0)
    auto = automatic(tuner(folder=tmp_path / 'file' / 'below'), dense=Fake(2.0), triton=fast)
    assert auto.run_for(*inputs()) is fast


def broken(*tensors: Tensor) -> Tensor:
    raise ValueError('shared memory is short\nand more')


def wrong(*tensors: Tensor) -> Tensor:
    return reference(*tensors) * 1.01


def wrong_gradient(x: Tensor, codewords: Tensor, scale: Tensor) -> Tensor:
    return reference(x, codewords.detach() + 0 * codewords, scale)


def not_a_number(*tensors: Tensor) -> Tensor:
    return reference(*tensors) * float('nan')


@pytest.mark.parametrize(
    'compute, reason',
    [
        (broken, "triton.*raised ValueError: shared memory is short; please"),
        (wrong, "triton.*results differ"),
        (wrong_gradient, "triton.*results differ"),
        (not_a_number, "triton.*results differ"),
        (lambda *tensors: reference(*tensors)[:1], "triton.*results differ"),
    ],
)  # fmt: skip
def test_a_faulty_backend_is_dropped_with_one_warning(tuner, compute, reason):
    dense = Fake(2.0)
    auto = automatic(tuner(), dense=dense, triton=Fake(1.0, compute))
    with pytest.warns(UserWarning, match=reason):
        assert auto.run_for(*inputs()) is dense
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert auto.run_for(*inputs(batch=8)) is dense


def test_rounding_is_not_an_error(tuner):
    fast = Fake(1.0, lambda *tensors: reference(*tensors) * (1 + 1e-5))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert automatic(tuner(), dense=Fake(2.0), triton=fast).run_for(*inputs()) is fast


@pytest.mark.parametrize(
    'failure', [torch.OutOfMemoryError('memory'), RuntimeError('no reference')]
)
def test_nothing_is_kept_where_the_reference_fails(tuner, tmp_path, failure):
    failing = [True]

    def compute(*tensors: Tensor) -> Tensor:
        if failing[0]:
            raise failure
        return reference(*tensors)

    dense, triton = Fake(2.0, compute), Fake(1.0)
    auto = automatic(tuner(), dense=dense, triton=triton)
    assert auto.run_for(*inputs()) is dense
    failing[0] = False
    assert not list(tmp_path.iterdir())
    assert auto.run_for(*inputs()) is triton


def test_features_that_are_not_finite_decide_nothing(tuner):
    x, codewords, scale = inputs()
    dense, triton = Fake(2.0), Fake(1.0)
    auto = automatic(tuner(), dense=dense, triton=triton)
    assert auto.run_for(x.detach() * float('inf'), codewords, scale) is dense
    assert auto.run_for(x, codewords, scale) is triton


def test_short_memory_drops_no_backend(tuner):
    failing = [True]

    def compute(*tensors: Tensor) -> Tensor:
        if failing[0]:
            raise torch.OutOfMemoryError('memory')
        return reference(*tensors)

    dense, triton = Fake(2.0), Fake(1.0, compute)
    auto = automatic(tuner(), dense=dense, triton=triton)
    assert auto.run_for(*inputs()) is dense
    failing[0] = False
    assert auto.run_for(*inputs()) is triton


def test_variants_are_candidates(tuner, tmp_path):
    runs = {'64x32': Fake(3.0), '32x32': Fake(1.0), '128x32': Fake(1.0, broken)}
    backends = {
        'dense': Backend('dense', Fake(2.0), lambda *tensors: None),
        'triton': Backend('triton', Fake(9.0), lambda *tensors: None, lambda *tensors: runs),
    }
    auto = Automatic(backends, ['dense'], list(backends), tuner(), CPU)
    with pytest.warns(UserWarning, match='triton/128x32'):
        assert auto.run_for(*inputs()) is runs['32x32']
    (file,) = tmp_path.iterdir()
    assert 'triton/32x32' in file.read_text()


def test_a_backend_that_refuses_is_not_timed(tuner):
    triton = Fake(1.0)
    backends = {
        'dense': Backend('dense', Fake(2.0), lambda *tensors: None),
        'triton': Backend('triton', triton, lambda *tensors: 'it is a fake; use another'),
    }
    auto = Automatic(backends, ['dense'], list(backends), tuner(), CPU)
    assert auto.run_for(*inputs()) is backends['dense'].run
    assert triton.calls == 0


def untimed(auto: Automatic, *tensors: Tensor) -> bool:
    return auto.run_for(*tensors) is auto._backends['dense'].run


def test_where_nothing_is_timed(tuner, monkeypatch):
    triton = Fake(1.0)
    devices = frozenset({'cpu', 'meta'})
    auto = automatic(tuner(), devices, dense=Fake(2.0), triton=triton)
    assert untimed(automatic(tuner(), frozenset({'cuda'}), dense=Fake(2.0)), *inputs())
    assert untimed(auto, *inputs(positions=0))
    with torch._subclasses.FakeTensorMode() as mode:
        assert untimed(auto, *(mode.from_tensor(tensor.detach()) for tensor in inputs()))
    for state in ('torch.compiler.is_compiling', 'torch.jit.is_tracing'):
        with monkeypatch.context() as patch:
            patch.setattr(state, lambda: True)
            assert untimed(auto, *inputs())
    torch.use_deterministic_algorithms(True)
    try:
        assert untimed(auto, *inputs())
    finally:
        torch.use_deterministic_algorithms(False)
    monkeypatch.setenv(SETTING, 'untimed')
    assert untimed(auto, *inputs())
    assert triton.calls == 0


def test_the_environment_names_a_backend(tuner, monkeypatch):
    triton = Fake(9.0)
    auto = automatic(tuner(), dense=Fake(1.0), triton=triton)
    monkeypatch.setenv(SETTING, 'triton')
    assert auto.run_for(*inputs()) is triton
    assert triton.calls == 0

    monkeypatch.setenv(SETTING, 'reference')
    x, codewords, scale = inputs()
    assert torch.equal(encode(x, codewords, scale), reference(x, codewords, scale))
    check_backend('auto')
    # The loss has no backend of this name, and so uses its fixed order.
    monkeypatch.setenv(SETTING, 'dense')
    loss_auto = Automatic(loss.BACKENDS, ['strips'], ['strips'], tuner(), CPU)
    assert loss_auto.run_for(*loss_inputs()) is loss.BACKENDS['strips'].run
    # The argument takes precedence.
    monkeypatch.setenv(SETTING, 'mmcv')
    encode(x, codewords, scale, backend='dense')
    with pytest.raises(ValueError, match=rf'{SETTING}=mmcv.*cannot be used'):
        encode(x, codewords, scale)


@pytest.mark.parametrize('call', [lambda: encode(*inputs()), lambda: check_backend('auto')])
def test_an_unknown_value_of_the_environment_is_reported(monkeypatch, call):
    monkeypatch.setenv(SETTING, 'fastest')
    with pytest.raises(UserError, match=rf"got {SETTING}='fastest', expected one of auto, untimed"):
        call()


def test_auto_compiles_without_a_break():
    x, codewords, scale = inputs()
    compiled = torch.compile(encode, backend='eager', fullgraph=True)
    torch.testing.assert_close(
        compiled(x, codewords, scale), encode(x, codewords, scale), rtol=0, atol=0
    )


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_gpu_keeps_its_choice(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    tuner = Autotuner('encode', inputs_text)
    auto = Automatic(BACKENDS, ['dense'], ['dense', 'triton'], tuner)
    tensors = [tensor.detach().cuda().requires_grad_() for tensor in inputs(channels=64, codes=32)]
    torch.cuda.set_sync_debug_mode('error')
    try:
        run = auto.run_for(*tensors)
        assert auto.run_for(*tensors) is run
    finally:
        torch.cuda.set_sync_debug_mode('default')
    (file,) = tmp_path.glob('mmseg_encnet/*.json')
    assert len(json.loads(file.read_text())) == 1
    assert list(file.parent.iterdir()) == [file]
