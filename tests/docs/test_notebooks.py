"""The notebooks run, with shorter trainings."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from tiny_setup import ROOT

NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.ipynb'))
SHORT = 'ITERATIONS = 2\nTEST_SCENES = 2'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = (
        cell for cell in notebook.cells if 'parameters' in cell.metadata.get('tags', ())
    )
    names = [line.split(' = ')[0] for line in parameters.source.splitlines() if ' = ' in line]
    assert names == [line.split(' = ')[0] for line in SHORT.splitlines()]
    parameters.source = SHORT
    NotebookClient(notebook, timeout=600, resources={'metadata': {'path': path.parent}}).execute()
    figures = [
        output
        for cell in notebook.cells
        for output in cell.get('outputs', ())
        if 'image/png' in output.get('data', ())
    ]
    assert len(figures) == 4
