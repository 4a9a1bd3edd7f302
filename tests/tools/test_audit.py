"""Known vulnerabilities: what pip-audit finds, and what it cannot look up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_setup import ROOT

# Answers with what a test wrote, as the module of pip-audit does.
FAKE = """
import json, pathlib, sys
arguments = sys.argv
answer = pathlib.Path(__file__).with_name('answer.json').read_text()
listed = pathlib.Path(arguments[arguments.index('--requirement') + 1]).read_text().splitlines()
assert any(line.startswith('torch==') and '+' not in line for line in listed), listed
if answer == 'offline':
    sys.exit('requests.exceptions.ConnectionError: Failed to resolve host')
pathlib.Path(arguments[arguments.index('--output') + 1]).write_text(answer)
"""
SKIPPED = dict(name='torch', skip_reason='Dependency not found on PyPI')
SAFE = dict(name='numpy', version='2.0', vulns=[])
UNSAFE = dict(
    name='pillow', version='1.0', vulns=[dict(id='PYSEC-1', fix_versions=['1.1'], aliases=[])]
)
CASES = {
    'safe': ([SAFE, SKIPPED], 0, ['1 packages looked up, 0 with', 'not known to pypi: torch']),
    'vulnerable': ([SAFE, UNSAFE], 1, ['pillow 1.0: PYSEC-1, fixed in 1.1', '1 with known']),
    # pip-audit itself succeeds then.
    'index without data': ([SKIPPED], 2, ['pypi has no data about any of the', 'make audit']),
    'offline': ('offline', 2, ['Failed to resolve host', 'make audit']),
}


@pytest.mark.parametrize('name', CASES)
def test_audit(name: str, tmp_path: Path) -> None:
    answer, status, expected = CASES[name]
    package = tmp_path / 'pip_audit'
    package.mkdir()
    (package / '__init__.py').write_text('')
    (package / '__main__.py').write_text(FAKE)
    content = answer if isinstance(answer, str) else json.dumps(dict(dependencies=answer))
    (package / 'answer.json').write_text(content)
    ended = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'audit.py')],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(tmp_path), PYTHONSAFEPATH=''),
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    output = ended.stdout + ended.stderr
    assert all(part in output for part in expected), output
    if status == 2:
        assert len(output.strip().splitlines()) == 1
