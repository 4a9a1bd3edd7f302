"""Every backend of the encoding against the paper's equations in double precision."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseg_encnet.errors import UserError
from mmseg_encnet.nn import Encoding
from mmseg_encnet.ops import assign, encode
from mmseg_encnet.ops.encode import BACKENDS, native

cuda = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU'),
]
with_operators = pytest.mark.skipif(
    BACKENDS['mmcv'].refusal() is not None, reason="needs mmcv's compiled operators"
)
built = pytest.mark.skipif(
    BACKENDS['native'].refusal() is not None, reason='needs the kernels that a C++ compiler builds'
)
ANY_PRECISION = [
    pytest.param('dense', 'cpu', id='dense-cpu'),
    pytest.param('dense', 'cuda', id='dense-cuda', marks=cuda),
    pytest.param('triton', 'cuda', id='triton-cuda', marks=cuda),
    pytest.param('mmcv', 'cuda', id='mmcv-cuda', marks=[*cuda, with_operators]),
]
TRITON = ANY_PRECISION[2:3]
TARGETS = [pytest.param('native', 'cpu', id='native-cpu', marks=built), *ANY_PRECISION]
LAYOUTS = {
    'contiguous': lambda x: x,
    'channels_last': lambda x: x.to(memory_format=torch.channels_last),
    'sliced': lambda x: x[:, :, 1:, :-1],
}


def problem(
    batch=2, channels=64, height=9, width=11, codes=8, smoothing=1.0, offset=0.0, seed=0, relu=True
):
    """Return features, codewords, smoothing factors and a gradient, initialised as published."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, height, width, generator=generator)
    std = (codes * channels) ** -0.5
    codewords = torch.empty(codes, channels).uniform_(-std, std, generator=generator)
    scale = torch.empty(codes).uniform_(-1, 0, generator=generator) * smoothing
    grad = torch.randn(batch, codes, channels, generator=generator)
    return (x.relu() if relu else x) + offset, codewords + offset, scale, grad


def run(backend, x, codewords, scale, grad, dtype=torch.float32, device='cpu'):
    """Return the encoding and the gradients."""
    inputs = [t.detach().to(device, dtype).requires_grad_() for t in (x, codewords, scale)]
    encoded = encode(*inputs, backend=backend)
    return encoded, *torch.autograd.grad(encoded, inputs, grad.to(encoded))


def errors(results, references):
    """Return the largest difference over the largest value, for the encoding and each gradient."""
    return [
        ((a.detach().cpu().double() - b).abs().max() / b.abs().max().clamp_min(1e-30)).item()
        for a, b in zip(results, references)
    ]


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize(
    'shape',
    [
        dict(),
        dict(smoothing=1 / 64),
        dict(batch=1, height=1, width=2, codes=1),
        dict(batch=3, channels=5, height=40, width=50, codes=3),
        dict(batch=3, channels=64, height=30, width=30, codes=32),
        dict(batch=1, channels=512, codes=32, smoothing=1 / 512),
        dict(channels=37, codes=17, height=30),
        dict(batch=1, channels=1100, codes=40, height=12, smoothing=1 / 512),
    ],
    ids=str,
)
@pytest.mark.parametrize(('backend', 'device'), TARGETS)
def test_matches_the_equations(backend, device, shape, layout):
    x, *rest = problem(**{**shape, 'height': shape.get('height', 9) + 1})
    x = LAYOUTS[layout](x)
    expected = run('reference', x, *rest, dtype=torch.float64)
    results = run(backend, x, *rest, device=device)
    assert max(errors(results, expected)) < 1e-5
    if layout == 'channels_last':
        assert results[1].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('codes', [8, 16, 32, 64, 100, 128])
@pytest.mark.parametrize('size', [(60, 60), (90, 90), (1, 3601)])
@pytest.mark.parametrize(('backend', 'device'), TRITON)
def test_sizes_that_change_the_tiles(backend, device, size, codes):
    height, width = size
    case = problem(1, 512, height, width, codes, smoothing=1 / 512)
    expected = run('dense', *case, dtype=torch.float64)
    assert max(errors(run(backend, *case, device=device), expected)) < 1e-5


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(('backend', 'device'), TRITON)
def test_the_same_bits_every_time(backend, device, dtype):
    x, *rest = (t.to(device) for t in problem(4, 512, 60, 60, 32))
    inputs = [t.requires_grad_() for t in (x.to(dtype), *rest[:2])]

    def results():
        encoded = encode(*inputs, backend=backend)
        return encoded, *torch.autograd.grad(encoded, inputs, rest[2].to(encoded))

    first = results()
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(first, results()))


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('smoothing', [1.0, 0.01])
@pytest.mark.parametrize('offset', [1.0, 10.0, 100.0])
@pytest.mark.parametrize(('backend', 'device'), TARGETS)
def test_a_common_offset_costs_little(backend, device, offset, smoothing, seed):
    case = problem(
        channels=256, codes=16, smoothing=smoothing, offset=offset, seed=seed, relu=False
    )
    expected = run('reference', *case, dtype=torch.float64)
    literal = errors(run('reference', *case), expected)
    ours = errors(run(backend, *case, device=device), expected)
    for name, bound, error in zip(('encoding', 'x', 'codewords', 'scale'), literal, ours):
        # The error cannot be smaller than the rounding of the result itself.
        assert error <= 10 * max(bound, torch.finfo(torch.float32).eps), name


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(0, 3),
    channels=st.integers(1, 20),
    height=st.integers(0, 30),
    width=st.integers(0, 30),
    codes=st.integers(1, 20),
    offset=st.sampled_from([0.0, 3.0]),
)
def test_any_shape(batch, channels, height, width, codes, offset):
    case = problem(batch, channels, height, width, codes, offset=offset)
    expected = run('reference', *case, dtype=torch.float64)
    for result, value in zip(run('dense', *case, dtype=torch.float64), expected):
        torch.testing.assert_close(result, value, rtol=1e-8, atol=1e-8)
    for result, value in zip(run('auto', *case), expected):
        torch.testing.assert_close(result, value.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('offset', [0.0, 3.0])
@pytest.mark.parametrize('function', [encode, assign])
def test_derivatives_of_first_and_second_order(function, offset):
    x, codewords, scale, _ = problem(2, 5, 3, 2, 4, smoothing=0.3, offset=offset)
    inputs = [t.double().requires_grad_() for t in (x + 0.1, codewords, scale)]
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize('wanted', [(0,), (1,), (2,), (0, 2)])
def test_gradients_of_some_inputs_only(wanted):
    case = problem(smoothing=0.1)
    inputs = [t.clone().requires_grad_(i in wanted) for i, t in enumerate(case[:3])]
    encode(*inputs).backward(case[3])
    everything = run('auto', *case)[1:]
    for i, tensor in enumerate(inputs):
        if i in wanted:
            torch.testing.assert_close(tensor.grad, everything[i])
        else:
            assert tensor.grad is None


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(('backend', 'device'), ANY_PRECISION)
def test_half_precision_features_of_large_norm(backend, device, dtype):
    x, codewords, scale, grad = problem(channels=100, smoothing=1e-2)
    x = (x * 1e4 / x.norm(dim=1).max()).to(dtype)
    inputs = [t.to(device).requires_grad_() for t in (x, codewords, scale)]
    with torch.autocast(device, dtype=dtype):
        encoded = encode(*inputs, backend=backend)
        weights = assign(*inputs)
    results = encoded, *torch.autograd.grad(encoded, inputs, grad.to(device))
    expected = run('reference', x, codewords, scale, grad, dtype=torch.float64)
    assert encoded.dtype == weights.dtype == torch.float32
    assert all(result.isfinite().all() for result in results)
    assert max(errors(results, expected)) < 2**-7


def test_assignment_weights():
    x, codewords, scale, _ = problem()
    weights = assign(x, codewords, scale)
    assert weights.shape == (2, 8, 99)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 99))
    expected = (
        torch.cdist(x.flatten(2).transpose(1, 2).double(), codewords.double()[None]).square()
        * scale.double()
    ).softmax(dim=2)
    torch.testing.assert_close(weights.double(), expected.transpose(1, 2), atol=1e-4, rtol=1e-4)


def kept_for_backward(x, codewords, scale):
    """Return the bytes that autograd keeps in addition to its inputs."""
    inputs = {t.data_ptr() for t in (x, codewords, scale)}
    kept = {}

    def note(tensor):
        if tensor.data_ptr() not in inputs:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        encode(x, codewords, scale)
    return sum(kept.values())


@pytest.mark.parametrize('positions', [3600, 14400])
def test_keeps_only_the_distances(positions):
    x, codewords, scale, _ = problem(2, 512, 60, positions // 60, 32)
    inputs = [t.requires_grad_() for t in (x, codewords, scale)]
    assert kept_for_backward(*inputs) == 4 * 2 * 32 * positions


def test_channels_last_is_not_copied():
    x, codewords, scale, grad = problem(2, 512, 60, 60, 32)
    x = x.to(memory_format=torch.channels_last)
    inputs = [t.requires_grad_() for t in (x, codewords, scale)]
    with torch.profiler.profile(profile_memory=True) as profiler:
        torch.autograd.grad(encode(*inputs), inputs, grad)
    largest = sorted(event.self_cpu_memory_usage for event in profiler.events())[-2:]
    # The gradient of the features is the only tensor of their size.
    assert largest[1] >= x.numel() * 4 > 5 * largest[0]


@pytest.mark.parametrize('layout', ['contiguous', 'channels_last'])
def test_assignment_does_not_copy_the_features(layout):
    x, codewords, scale, _ = problem(2, 512, 60, 60, 32)
    inputs = [t.requires_grad_() for t in (LAYOUTS[layout](x), codewords, scale)]
    with torch.profiler.profile(profile_memory=True) as profiler:
        torch.autograd.grad(assign(*inputs).square().sum(), inputs)
    largest = sorted(event.self_cpu_memory_usage for event in profiler.events())[-2:]
    assert largest[1] >= x.numel() * 4 > 5 * largest[0]


def test_weights_too_small_to_matter_are_zero():
    """Denormal numbers would make CPU matrix products ten times slower."""
    x = torch.full((1, 4, 1, 1), 2.0)
    codewords = torch.tensor([[0.0] * 4, [-2.0] * 4])
    scale = torch.full((2,), -1.8)
    assert 0 < assign(x, codewords, scale)[0, 1, 0] < 1e-30
    assert encode(x, codewords, scale)[0, 1].eq(0).all()


class Encode(torch.nn.Module):
    def __init__(self, channels=64, codes=8):
        super().__init__()
        _, codewords, scale, _ = problem(channels=channels, codes=codes)
        self.codewords, self.scale = torch.nn.Parameter(codewords), torch.nn.Parameter(scale)

    def forward(self, x):
        return encode(x, self.codewords, self.scale)


def test_compiles_in_one_graph():
    case = problem()
    compiled = torch.compile(encode, fullgraph=True, dynamic=True, backend='aot_eager')
    for height, width in ((9, 11), (4, 7)):
        inputs = [t.clone().requires_grad_() for t in problem(height=height, width=width)[:3]]
        encoded = compiled(*inputs)
        results = encoded, *torch.autograd.grad(encoded, inputs, case[3])
        expected = run('auto', *inputs, case[3])
        torch.testing.assert_close(results, expected)


@pytest.mark.parametrize('strict', [False, True])
def test_exports_with_any_height_and_width(strict):
    module = Encode()
    sizes = {2: torch.export.Dim('height', min=2), 3: torch.export.Dim('width', min=2)}
    x = problem()[0]
    program = torch.export.export(module, (x,), dynamic_shapes=(sizes,), strict=strict)
    assert not any('mmseg_encnet' in str(node.target) for node in program.graph.nodes)
    for height, width in ((9, 11), (5, 30)):
        x = problem(height=height, width=width)[0]
        torch.testing.assert_close(program.module()(x), module(x), rtol=1e-4, atol=1e-5)


def test_exports_to_onnx_with_any_height_and_width(tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    module = Encode().eval()
    sizes = {2: torch.export.Dim('height', min=2), 3: torch.export.Dim('width', min=2)}
    path = tmp_path / 'encode.onnx'
    torch.onnx.export(
        module, (problem()[0],), path, dynamo=True, dynamic_shapes=(sizes,), verbose=False
    )
    session = onnxruntime.InferenceSession(path)
    for height, width in ((9, 11), (5, 30)):
        x = problem(height=height, width=width)[0]
        (result,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(
            torch.from_numpy(result), module(x).detach(), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(x=torch.zeros(2, 64)), r'got x of dtype torch.float32 and shape \(2, 64\), expected'),
        (dict(x=torch.zeros(2, 64, 3, dtype=torch.long)), 'got x of dtype torch.int64'),
        (dict(codewords=torch.zeros(8, 5)), r'codewords of shape \(8, 5\), expected \(K, 64\)'),
        (dict(codewords=torch.zeros(0, 64)), 'with K >= 1'),
        (dict(scale=torch.zeros(3)), r'got scale of shape \(3,\), expected \(8,\)'),
        (dict(backend='cudnn'), "unknown backend 'cudnn'; choose one of auto, native"),
    ],
)
def test_names_what_does_not_fit(change, message):
    x, codewords, scale, _ = problem()
    with pytest.raises(ValueError, match=message):
        encode(**{**dict(x=x, codewords=codewords, scale=scale), **change})


# A missing requirement or an unsupported tensor, and the reason in the message.
REFUSALS = {
    'kernels not built': ('native', torch.float32, r'kernels were not built; install a C\+\+'),
    'double precision on the CPU': ('native', torch.float64, 'it takes float32 tensors on the CPU'),
    'no triton': ('triton', torch.float32, 'triton is not installed; run `pip install triton`'),
    'no GPU for triton': ('triton', torch.float32, 'it runs on CUDA, and this machine has no'),
    'no operators': ('mmcv', torch.float32, 'pip install --no-cache-dir --no-build-isolation'),
}


@pytest.mark.parametrize('case', REFUSALS)
def test_a_backend_that_cannot_run_says_why(case, monkeypatch):
    backend, dtype, reason = REFUSALS[case]
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    if case == 'kernels not built':
        monkeypatch.setattr(native, 'INSTRUCTION_SETS', {})
    elif case == 'no triton':
        monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    elif case == 'no operators':
        monkeypatch.setitem(sys.modules, 'mmcv.ops', None)
    elif case == 'no GPU for triton':
        pytest.importorskip('triton')
    elif BACKENDS[backend].refusal() is not None:
        pytest.skip('the kernels were not built')
    inputs = [t.to(dtype) for t in problem()[:3]]
    message = f"backend '{backend}' cannot be used: .*{reason}.*, or use backend='dense'"
    with pytest.raises(ValueError, match=message):
        encode(*inputs, backend=backend)
    # Missing requirements of the machine are reported before there are tensors.
    if dtype == torch.float32:
        with pytest.raises(UserError, match=message):
            BACKENDS.check(backend)
        with pytest.raises(UserError, match=message):
            Encoding(64, 8, backend=backend)
    else:
        BACKENDS.check(backend)
    assert encode(*inputs).shape == (2, 8, 64)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_auto_takes_what_the_machine_and_the_tensors_allow(dtype, monkeypatch):
    inputs = [t.to(dtype) for t in problem()[:3]]
    features = inputs[0].flatten(2), *inputs[1:]
    built = BACKENDS['native'].refusal() is None
    name = 'native' if built and dtype == torch.float32 else 'dense'
    assert torch.equal(encode(*inputs), BACKENDS[name].run(*features))
    monkeypatch.setattr(native, 'INSTRUCTION_SETS', {})
    assert torch.equal(encode(*inputs), BACKENDS['dense'].run(*features))


@pytest.mark.parametrize('function', [encode, assign])
def test_shapes_on_the_meta_device(function):
    inputs = [t.to('meta').requires_grad_() for t in problem()[:3]]
    result = function(*inputs)
    assert result.shape == function(*problem()[:3]).shape
    grads = torch.autograd.grad(result.sum(), inputs)
    assert [grad.shape for grad in grads] == [t.shape for t in inputs]
