"""Guarantees of the compiled kernels in addition to the equations (see test_encode.py)."""

from __future__ import annotations

import pytest
import torch
from test_encode import LAYOUTS, built, errors, problem, run

from mmseg_encnet.ops.encode import native

SHAPES = [
    dict(channels=96, height=20, width=21, codes=32),
    dict(batch=3, channels=37, height=30, width=11, codes=17, smoothing=1 / 37),
    dict(batch=1, channels=130, height=40, width=50, codes=70, smoothing=1 / 130, offset=3.0),
]


@built
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('name', native.INSTRUCTION_SETS)
def test_every_instruction_set_follows_the_equations(name, shape, layout, monkeypatch):
    index = native.INSTRUCTION_SETS[name]
    monkeypatch.setattr(native, 'INSTRUCTION_SETS', {name: index})
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
