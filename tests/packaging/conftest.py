"""A clean copy of the project, as users get it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


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
