"""What the compiled kernels promise beyond the equations, for which see test_encode.py."""

from __future__ import annotations

import pytest
import torch
from test_encode import LAYOUTS, built, errors, problem, run

from mmseg_encnet.ops import encode
from mmseg_encnet.ops.encode.native import backend as native_backend

SHAPES = [
    dict(channels=96, height=20, width=21, codes=32),
    dict(batch=3, channels=37, height=30, width=11, codes=17, smoothing=1 / 37),
    dict(batch=1, channels=130, height=40, width=50, codes=70, smoothing=1 / 130, offset=3.0),
]


@built
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('name', native_backend.INSTRUCTION_SETS)
def test_every_instruction_set_follows_the_equations(name, shape, layout, monkeypatch):
    index = native_backend.INSTRUCTION_SETS[name]
    monkeypatch.setattr(native_backend, 'INSTRUCTION_SETS', {name: index})
    x, *rest = problem(**shape)
    x = LAYOUTS[layout](x)
    expected = run('reference', x, *rest, dtype=torch.float64)
    assert max(errors(run('native', x, *rest), expected)) < 1e-5


@built
@pytest.mark.parametrize('layout', LAYOUTS)
def test_results_do_not_depend_on_the_number_of_threads(layout):
    x, *rest = problem(batch=3, channels=64, height=60, width=51, codes=32)
    x = LAYOUTS[layout](x)
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(run('native', x, *rest))
    finally:
        torch.set_num_threads(threads)
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others))


@built
@pytest.mark.parametrize('layout', LAYOUTS)
def test_takes_a_part_of_the_channels(layout):
    x, codewords, scale, grad = problem(channels=60, height=13, width=17, codes=5)
    whole = LAYOUTS[layout](x)
    before = whole.clone()
    part = whole[:, 20:40]
    results = run('native', part, codewords[:, 20:40], scale, grad[..., 20:40])
    assert torch.equal(whole, before)
    expected = run('reference', part, codewords[:, 20:40], scale, grad[..., 20:40], torch.float64)
    assert max(errors(results, expected)) < 1e-5


@built
@pytest.mark.parametrize('wrong', ['x', 'codewords', 'scale'])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_what_is_no_number_stays_none(wrong, value):
    """A training that has diverged must not look as if it had not."""
    inputs = dict(zip(('x', 'codewords', 'scale'), problem(smoothing=0.1)[:3]))
    inputs[wrong].view(-1)[0] = value
    assert not encode(**inputs, backend='native').isfinite().all()


@built
def test_says_which_tensors_it_takes():
    inputs = [t.double() for t in problem()[:3]]
    with pytest.raises(ValueError, match=r'takes float32 on the CPU, but .* torch.float64 on cpu'):
        encode(*inputs, backend='native')


def test_says_when_its_kernels_were_not_built(monkeypatch):
    monkeypatch.setattr(native_backend, 'AVAILABLE', False)
    with pytest.raises(RuntimeError, match='kernels were not built; install a C\\+\\+ compiler'):
        encode(*problem()[:3], backend='native')
