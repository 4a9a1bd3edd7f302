"""The encoding through mmcv's operator, held on the CPU to a model of what mmcv documents."""

from __future__ import annotations

import sys

import pytest
import torch
from test_encode import errors, problem, run

from mmseg_encnet.ops import encode
from mmseg_encnet.ops.encode import mmcv as mmcv_backend


def assign_score_withk(scores, points, centres, index, aggregate='sum'):
    """``(B, I, J, M)``, ``(B, N, M, O)``, ``(B, N, M, O)``, ``(B, I, J)`` -> ``(B, O, I, J)``."""
    assert aggregate == 'sum'
    assert points.shape == centres.shape
    batch = torch.arange(index.shape[0])[:, None, None]
    neighbours = points[batch, index] - centres[batch, index[:, :, :1]]
    return torch.einsum('bijm,bijmo->boij', scores, neighbours)


def test_the_operator_sums_what_the_encoding_needs(monkeypatch):
    monkeypatch.setattr(mmcv_backend, '_load_operator', lambda device: assign_score_withk)
    case = problem(channels=16, height=5, width=6, codes=4)
    expected = run('reference', *case, dtype=torch.float64)
    assert max(errors(run('mmcv', *case), expected)) < 1e-5


def test_says_how_to_get_the_operators(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv.ops', None)
    x, codewords, scale, _ = problem()
    with pytest.raises(RuntimeError, match='pip install --no-cache-dir --no-build-isolation'):
        encode(x, codewords, scale, backend='mmcv')
