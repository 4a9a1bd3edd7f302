"""The losses of a run stay the same between versions."""

from __future__ import annotations

import json

import pytest
from golden_losses import CASES, GOLDEN, ITERATIONS, train


@pytest.mark.parametrize('name', CASES)
def test_losses_are_those_that_were_stored(name, tmp_path):
    golden = json.loads(GOLDEN.read_text())[name]
    losses = train(name, tmp_path)
    assert losses.keys() == golden.keys()
    assert all(len(values) == ITERATIONS for values in losses.values())
    for key, values in losses.items():
        assert values == pytest.approx(golden[key], rel=1e-9, abs=1e-15), key


def test_every_case_is_stored_and_moves():
    golden = json.loads(GOLDEN.read_text())
    assert golden.keys() == CASES.keys()
    assert all(
        len({round(value, 6) for value in losses['loss']}) == ITERATIONS
        for losses in golden.values()
    )
