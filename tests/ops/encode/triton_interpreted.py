"""The Triton kernels on the CPU; `test_triton.py` runs this file with ``TRITON_INTERPRET=1``."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from magnitudes import cases, check, check_not_finite, special_cases
from test_encode import errors, problem, run
from triton._C.libtriton.ir import INPUT_PRECISION
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from mmseg_encnet.ops import encode
from mmseg_encnet.ops.encode import triton
from mmseg_encnet.ops.encode.triton.tiles import MOST_CODES, variants


def to_tf32(values):
    """Round float32 to the 10 bits of tf32, as the compiled kernels do."""
    rounded = ((values.view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32)
    return np.where(np.isfinite(values), rounded, values)


def multiply(left, right, precision):
    """Return a matrix product as tensor cores compute it; the interpreter ignores `precision`."""
    if precision == INPUT_PRECISION.IEEE:
        return left @ right
    high = to_tf32(left), to_tf32(right)
    result = high[0] @ high[1]
    if precision == INPUT_PRECISION.TF32x3:
        low = to_tf32(left - high[0]), to_tf32(right - high[1])
        small = low[0] @ high[1] + high[0] @ low[1]
        result = result + np.where(np.isnan(small), 0, small)
    return result


@pytest.fixture(autouse=True)
def _tensor_cores(monkeypatch):
    def create_dot(self, left, right, total, precision, imprecise):
        operands = (np.ascontiguousarray(t.data, total.data.dtype) for t in (left, right))
        return TensorHandle(multiply(*operands, precision) + total.data, total.dtype.scalar)

    monkeypatch.setattr(InterpreterBuilder, 'create_dot', create_dot)


SHAPES = [
    dict(batch=2, channels=32, height=8, width=8, codes=16),
    dict(batch=1, channels=37, height=5, width=27, codes=5, smoothing=0.1),
    dict(batch=3, channels=33, height=1, width=3, codes=17),
    dict(batch=1, channels=8, height=13, width=33, codes=1, smoothing=0.1),
    dict(batch=1, channels=20, height=1, width=70, codes=70, smoothing=0.1),
    dict(batch=1, channels=1, height=1, width=1, codes=2),
    dict(batch=0, channels=4, height=2, width=2, codes=2),
    dict(batch=2, channels=4, height=0, width=2, codes=2),
]


@pytest.mark.parametrize(
    ('shape', 'dtype', 'bound', 'channels_last'),
    # The order of the memory alternates, because the interpreter takes seconds for some shapes.
    [(shape, torch.float32, 1e-5, i % 2 == 1) for i, shape in enumerate(SHAPES)]
    + [(SHAPES[1], torch.float32, 1e-5, False)]
    + [
        (SHAPES[1], dtype, 2**-7, channels_last)
        for dtype in (torch.float16, torch.bfloat16)
        for channels_last in (False, True)
    ],
    ids=str,
)
def test_matches_the_equations(shape, dtype, bound, channels_last):
    x, codewords, scale, grad = problem(**shape)
    x = x.to(dtype)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    inputs = [t.requires_grad_() for t in (x, codewords, scale)]
    expected = run('reference', *inputs, grad, dtype=torch.float64)
    encoded = encode(*inputs, backend='triton')
    results = encoded, *torch.autograd.grad(encoded, inputs, grad)
    assert results[1].dtype == dtype
    for error in errors(*zip(*((a, b) for a, b in zip(results, expected) if b.numel()))):
        assert error < bound


@pytest.mark.parametrize(
    ('dtype', 'channels_last'), [(torch.float32, True), (torch.float16, False)]
)
def test_every_variant(dtype, channels_last, monkeypatch):
    x, *rest = problem(batch=3, channels=16, height=4, width=9, codes=5, smoothing=0.1)
    x = x.to(dtype)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    x = x.flatten(2)

    def results(operator):
        inputs = [t.detach().requires_grad_() for t in (x, *rest[:2])]
        encoded = operator(*inputs)
        return encoded, *torch.autograd.grad(encoded, inputs, rest[2])

    default, *others = triton.operators(x, *rest[:2]).values()
    # Two images fit into this cache.
    monkeypatch.setattr(triton, '_cache_bytes', lambda device: 4 * x[0].nbytes)
    with_groups = list(triton.operators(x, *rest[:2]).values())
    assert len(with_groups) == len(others) + 2 == len(variants(5, dtype))
    expected = results(default)
    for operator in with_groups[1:]:
        torch.testing.assert_close(results(operator), expected, rtol=1e-4, atol=1e-5)


def test_more_codewords_than_a_tile_holds():
    x, *rest = problem(batch=1, channels=8, height=2, width=3, codes=MOST_CODES + 1)
    message = (
        "backend 'triton' cannot be used: it takes up to 128 codewords, got 129; use fewer, or"
    )
    with pytest.raises(ValueError, match=message):
        encode(x, *rest[:2], backend='triton')
    assert encode(x, *rest[:2]).shape == (1, 129, 8)


def test_a_common_offset_costs_little():
    case = problem(channels=64, height=5, width=13, offset=100.0, smoothing=0.1, relu=False)
    expected = run('reference', *case, dtype=torch.float64)
    literal = errors(run('reference', *case), expected)
    for bound, error in zip(literal, errors(run('triton', *case), expected)):
        assert error <= 10 * max(bound, torch.finfo(torch.float32).eps)


def test_products_keep_the_precision_that_the_kernels_ask_for():
    left, right = (np.random.default_rng(i).normal(size=(64, 64)).astype('f4') for i in (0, 1))
    exact = left.astype('f8') @ right.astype('f8')
    for name, low, high in (('TF32', 1e-4, 0.1), ('TF32x3', 1e-8, 1e-5)):
        error = np.abs(multiply(left, right, getattr(INPUT_PRECISION, name)) - exact).max()
        assert low < error < high


def test_without_gradient():
    case = problem(channels=40, height=5, width=13)
    with torch.no_grad():
        encoded = encode(*case[:3], backend='triton')
    torch.testing.assert_close(encoded, run('reference', *case)[0].detach())


MAGNITUDES = {**dict(cases(channels=8, codes=3, height=3, width=5)), **dict(special_cases())}


@pytest.mark.parametrize('case', MAGNITUDES)
def test_equals_double_precision_at_any_magnitude(case):
    check('triton', MAGNITUDES[case], retries=False)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
def test_not_finite_features(value):
    check_not_finite('triton', value)
