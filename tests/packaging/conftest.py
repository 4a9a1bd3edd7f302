"""A clean copy of the project, as users get it."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='session', autouse=True)
def unoptimized_kernels(tmp_path_factory) -> Iterator[None]:
    """Compile without optimisation, which takes a tenth of the time."""
    compiler = sysconfig.get_config_var('CXX')
    if not compiler or not shutil.which(compiler.split()[0]):
        yield
        return
    script = tmp_path_factory.mktemp('compiler') / 'c++'
    script.write_text(f'#!/bin/sh\nexec {compiler} "$@" -O0\n')
    script.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        for variable in ('CC', 'CXX'):
            patch.setenv(variable, str(script))
        yield


@pytest.fixture(scope='session')
def project_files() -> list[Path]:
    """Return the files of the project that git tracks or would track, relative to its root."""
    if not (ROOT / '.git').exists():
        pytest.skip('the list of project files needs a git checkout')
    listed = subprocess.run(
        [
            'git',
            '-c',
            'safe.directory=*',
            'ls-files',
            '-z',
            '--cached',
            '--others',
            '--exclude-standard',
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sorted(Path(name) for name in listed.split('\0') if (ROOT / name).is_file())


@pytest.fixture(scope='session')
def copy_project(project_files) -> Callable[[Path], Path]:
    """Return a function that copies the project to a folder, without build products."""

    def copy(target: Path) -> Path:
        for file in project_files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, target / file)
        return target

    return copy
