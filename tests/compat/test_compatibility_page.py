"""The page of versions matches the results, and its matrix covers the allowed versions."""

from __future__ import annotations

import importlib.util
from importlib import metadata

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from tiny_setup import ROOT

from mmseg_encnet.toolbox import SUPPORTED

spec = importlib.util.spec_from_file_location('compat', ROOT / 'tools' / 'compat.py')
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)


def test_page_is_written_from_the_results():
    assert compat.PAGE.read_text() == compat.render(compat.stored()), 'run: make compat'


def test_tests_to_run_exist():
    assert all((ROOT / path).exists() for path in compat.SMOKE)


@pytest.mark.parametrize(
    'output, summary',
    [
        ('..\n210 passed, 114 skipped, 3 warnings in 12.30s (0:12)\n', '210 passed, 114 skipped'),
        (
            'FAILED a.py::b - assert 0\nERROR c.py\n== 1 failed, 2 warnings, 1 error in 5.00s ==',
            '1 failed, 1 error: a.py::b, c.py',
        ),
        ('usage: pytest\nno such option', 'no such option'),
        ('', 'no output'),
    ],
)
def test_summary_of_a_run(output, summary):
    assert compat._summary(output) == summary


def test_nothing_failed():
    for name, result in compat.stored().items():
        assert result['status'] != 'failed', (name, result['detail'])


def test_matrix_has_both_ends():
    cells = compat.matrix()
    assert {cell.python for cell in cells} == set(compat.PYTHONS)
    for python in compat.PYTHONS:
        ends = {(cell.torch, cell.toolbox) for cell in cells if cell.python == python}
        assert {('oldest', 'oldest'), ('newest', 'newest')} <= ends
    oldest = compat.lower_bounds()
    assert set(oldest) == {name for name in compat.SHOWN if name != 'numpy'}
    for name, version in oldest.items():
        if name != 'torch':
            assert SpecifierSet(SUPPORTED[name]).contains(version)
    assert Version(oldest['torch']) <= Version(metadata.version('torch'))


@pytest.mark.parametrize(
    'cell, torch, first',
    [
        (('3.10', 'oldest', 'oldest'), 'torch==', 'onedl-mmcv=='),
        (('3.13', 'newest', 'newest'), 'torch', 'onedl-mmcv'),
        (('3.11', '2.13.0', 'newest'), 'torch==2.13.0', 'onedl-mmcv'),
    ],
)
def test_what_pip_is_asked_for(cell, torch, first):
    asked, toolbox = compat.requirements(compat.Cell(*cell))
    assert asked.startswith(torch) and toolbox[0].startswith(first)
    assert len(toolbox) == 3
