"""Signals end the tools with one line and a documented status, even while it is imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from tiny_setup import ROOT

# One for each order of imports.
TOOLS = {
    'train': ['config'],
    'infer': ['config', 'checkpoint', 'image'],
    'dataset_converters/own': ['data', 'out'],
    'analysis_tools/benchmark_encode': [],
}
INTERRUPTED = """
import os, signal
os.kill(os.getpid(), signal.{})
import time
time.sleep(9)
"""


@pytest.mark.skipif(sys.platform == 'win32', reason='signals')
@pytest.mark.parametrize('tool', TOOLS)
def test_while_the_package_is_imported(tool, environment, tmp_path):
    name = 'SIGTERM' if tool == 'train' else 'SIGINT'
    (tmp_path / 'torch.py').write_text(INTERRUPTED.format(name))
    environment['PYTHONPATH'] = f'{tmp_path}{os.pathsep}{ROOT}'
    ended = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / f'{tool}.py'), *TOOLS[tool]],
        env=environment,
        capture_output=True,
        text=True,
        # A background job of a shell starts with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert ended.returncode == 128 + getattr(signal, name)
    assert ended.stderr == f'stopped by {name}.\n'
