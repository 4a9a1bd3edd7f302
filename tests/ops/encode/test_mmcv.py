"""The encoding through mmcv's operator, tested on the CPU with a model of its documentation."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from test_encode import errors, problem, run

from mmseg_encnet.ops.encode import BACKENDS, mmcv


def assign_score_withk(scores, points, centres, index, aggregate='sum'):
    """``(B, I, J, M)``, ``(B, N, M, O)``, ``(B, N, M, O)``, ``(B, I, J)`` -> ``(B, O, I, J)``."""
    assert aggregate == 'sum'
    assert points.shape == centres.shape
    batch = torch.arange(index.shape[0])[:, None, None]
    neighbours = points[batch, index] - centres[batch, index[:, :, :1]]
    return torch.einsum('bijm,bijmo->boij', scores, neighbours)


@pytest.fixture
def modelled_operator(monkeypatch):
    """Make the backend run on the CPU, with the model of mmcv's operator."""
    monkeypatch.setattr(mmcv, '_operator', lambda: assign_score_withk)
    record = dataclasses.replace(BACKENDS['mmcv'], refusal=lambda *tensors: None)
    monkeypatch.setitem(BACKENDS, 'mmcv', record)


def test_the_operator_sums_what_the_encoding_needs(modelled_operator):
    case = problem(channels=16, height=5, width=6, codes=4)
    expected = run('reference', *case, dtype=torch.float64)
    assert max(errors(run('mmcv', *case), expected)) < 1e-5
