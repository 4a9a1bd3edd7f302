from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmseg_encnet.ops import encode
from mmseg_encnet.ops.encode import triton as triton_kernels


def test_kernels_in_the_interpreter():
    """Triton decides at import whether it compiles or interprets, so this takes a new process."""
    pytest.importorskip('triton')
    result = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'triton_interpreted.py'],
        cwd=Path(__file__).parent,
        env={**os.environ, 'TRITON_INTERPRET': '1', 'PYTEST_ADDOPTS': ''},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert ' passed' in result.stdout


def test_says_when_triton_is_not_installed(monkeypatch):
    monkeypatch.setattr(triton_kernels, 'AVAILABLE', False)
    inputs = torch.zeros(1, 4, 3), torch.zeros(2, 4), torch.zeros(2)
    with pytest.raises(RuntimeError, match='triton is not installed; run `pip install triton`'):
        encode(*inputs, backend='triton')
    assert encode(*inputs).shape == (1, 2, 4)


@pytest.mark.skipif(not triton_kernels.AVAILABLE, reason='needs triton')
@pytest.mark.parametrize(
    ('dtype', 'message'),
    [
        (torch.float32, "runs on CUDA, but x is on device 'cpu'"),
        (torch.float64, 'double precision'),
    ],
)
def test_says_which_tensors_it_takes(dtype, message):
    if 'TRITON_INTERPRET' in os.environ:
        pytest.skip('the interpreter takes CPU tensors')
    inputs = [t.to(dtype) for t in (torch.zeros(1, 4, 3), torch.zeros(2, 4), torch.zeros(2))]
    with pytest.raises(ValueError, match=message):
        encode(*inputs, backend='triton')
