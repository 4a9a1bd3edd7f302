"""Runs test files with Triton's interpreter, in processes of their own.

Triton chooses between compiling and interpreting when it is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run_in_interpreter(file: Path) -> None:
    """Run the tests of a file, whose name pytest does not collect, with ``TRITON_INTERPRET=1``."""
    pytest.importorskip('triton')
    result = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', file.name],
        cwd=file.parent,
        env={**os.environ, 'TRITON_INTERPRET': '1', 'PYTEST_ADDOPTS': ''},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert ' passed' in result.stdout
