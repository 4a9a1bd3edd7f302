"""Fixtures for all tests: a clean toolbox state, and a tiny data set with its config."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from mmengine.config import Config
from tiny_setup import MSRC21, ROOT, SHRUNK, draw_photographs, option_strings
from toolbox_state import clear_toolbox_state

import mmseg_encnet  # noqa: F401  (registers the parts)


@pytest.fixture(autouse=True)
def _toolbox_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Reset the toolbox's process-wide state for each test."""
    # The tools set it for their process.
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    monkeypatch.setenv('PYTHONSAFEPATH', '')
    # A run writes its config seven times; formatting it takes most of the time of a tiny run.
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, True))
    threads = torch.get_num_threads()
    clear_toolbox_state()
    yield
    clear_toolbox_state()
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_data(tmp_path: Path) -> Path:
    """Return the root of a data set in the layout of MSRC-21: four training and two test images."""
    root = tmp_path / 'data'
    draw_photographs(root, 'train', 4)
    draw_photographs(root, 'val', 2)
    return root


@pytest.fixture
def tiny_options(tiny_data: Path) -> dict:
    """Return options that shrink ``encnet_r18_msrc21`` for :func:`tiny_data`."""
    return dict(SHRUNK, data_root=str(tiny_data))


@pytest.fixture
def tiny_config(tmp_path: Path, tiny_options: dict) -> Callable[..., Config]:
    """Load the shrunk config, with further options and a work dir of this test."""
    from mmseg_encnet.configuration.loading import load_config

    def load(options: dict | None = None, work_dir: str = 'work') -> Config:
        return load_config(
            str(MSRC21), dict(tiny_options, **(options or {})), str(tmp_path / work_dir)
        )

    return load


class ToolResult(NamedTuple):
    """Exit status and output of a tool."""

    status: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The error sentence; asserts that there is exactly one and no traceback."""
        assert self.status == 2, self.out + self.err
        assert 'Traceback' not in self.out + self.err
        last = self.err.strip().splitlines()[-1]
        assert last.startswith('error: ')
        assert self.err.count('error: ') == 1
        return last.removeprefix('error: ')


@pytest.fixture
def run_tool(monkeypatch: pytest.MonkeyPatch, capfd, tmp_path: Path) -> Callable[..., ToolResult]:
    """Run a tool's ``__main__`` in this process, in a folder of this test."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *args: object, options: dict | None = None) -> ToolResult:
        tool = ROOT / 'tools' / f'{name}.py'
        argv = [str(tool), *map(str, args)]
        if options:
            argv += ['--cfg-options', *option_strings(options)]
        monkeypatch.setattr(sys, 'argv', argv)
        capfd.readouterr()
        # Earlier loggers write to a stream that pytest has closed.
        clear_toolbox_state()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(tool), run_name='__main__')
        clear_toolbox_state()
        out, err = capfd.readouterr()
        return ToolResult(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture
def environment() -> dict[str, str]:
    """Return the environment of a tool that runs in a separate process."""
    return dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT), PYTHON=sys.executable)
