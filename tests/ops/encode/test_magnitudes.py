"""Every backend at any magnitude: correct results, or the documented NaN."""

from __future__ import annotations

import pytest
import torch
from magnitudes import Case, cases, check, check_not_finite, special_cases
from test_encode import built, problem
from test_mmcv import modelled_operator  # noqa: F401  (a fixture)

from mmseg_encnet.ops.encode import native

CASES = {**dict(cases()), **dict(special_cases())}
NATIVE = [f'native {name}' for name in native.INSTRUCTION_SETS] or [
    pytest.param('native', marks=built)
]
BACKENDS = [*NATIVE, 'dense', 'mmcv']


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    name, _, instructions = request.param.partition(' ')
    if instructions:
        index = native.INSTRUCTION_SETS[instructions]
        monkeypatch.setattr(native, 'INSTRUCTION_SETS', {instructions: index})
    if name == 'mmcv':
        request.getfixturevalue('modelled_operator')
    return name


@pytest.mark.parametrize('case', CASES)
def test_equals_double_precision(backend, case):
    check(backend, CASES[case], retries=backend != 'mmcv')


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('magnitude', [1.0, 4.4e4, 8.8e4, 1e9])
def test_sizes_of_the_paper(backend, magnitude, layout):
    """With a fused multiply-add, the softmax of the native kernel failed from 4.4e4 upwards."""
    x, *rest = problem(1, 512, 10, 12, 32, seed=int(magnitude) % 5)
    x = (x * (magnitude / x.max())).to(memory_format=layout)
    check(backend, Case(x, *rest))


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
def test_not_finite_features(backend, value):
    check_not_finite(backend, value)
