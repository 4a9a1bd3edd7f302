"""Runs test files with Triton's interpreter, in processes of their own.

Triton chooses between compiling and interpreting when it is imported.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def passed_in_interpreter(file: Path) -> int:
    """Run the tests of a file, whose name pytest does not collect, with ``TRITON_INTERPRET=1``.

    Returns:
        The number of tests, all of which have passed.
    """
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
    return int(re.findall(r'(\d+) passed', result.stdout)[-1])
