"""The tools import nothing from the folder that they are started in, such as one of a stranger."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from import_traps import sprung, traps
from tiny_setup import ROOT

TOOLS = sorted(path.relative_to(ROOT / 'tools') for path in (ROOT / 'tools').rglob('*.py'))
# In place of everything that takes seconds to import; it tries to import the traps.
STAND_IN = """
import importlib, os, sys
sys.path_importer_cache.clear()
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
os._exit(0)
"""
# Spawned processes are started with -c.
SPAWNING = """
import multiprocessing
import os

def work():
    pass

if __name__ == '__main__':
    from mmseg_encnet.program import exit_with_one_sentence

    @exit_with_one_sentence
    def main():
        process = multiprocessing.get_context('spawn').Process(target=work)
        process.start()
        process.join()
        return process.exitcode

    main()
"""


@pytest.mark.parametrize('tool', TOOLS, ids=str)
def test_every_tool(tool, tmp_path, environment):
    folder, library = traps(tmp_path / 'current'), tmp_path / 'library'
    for package in ('mmseg_encnet', 'torch', 'tqdm'):
        (library / package).mkdir(parents=True)
        content = STAND_IN.format(names=[path.stem for path in folder.glob('*.py')])
        (library / package / '__init__.py').write_text(content)
    command = [sys.executable, '-S', str(ROOT / 'tools' / tool), '--help']
    ended = subprocess.run(
        command, cwd=folder, env=dict(environment, PYTHONPATH=str(library)), capture_output=True
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert sprung(folder) == []


def test_processes_that_a_tool_starts(tmp_path, environment):
    folder = traps(tmp_path / 'current')
    program = tmp_path / 'program.py'
    program.write_text(SPAWNING)
    ended = subprocess.run(
        [sys.executable, str(program)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    if sys.version_info >= (3, 11):
        assert sprung(folder) == []


def test_the_traps_work(tmp_path):
    folder = traps(tmp_path / 'current')
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONSAFEPATH'}
    command = [sys.executable, '-c', 'import mmseg, random']
    subprocess.run(command, cwd=folder, env=environment, check=True)
    assert sprung(folder) == ['mmseg', 'random']
