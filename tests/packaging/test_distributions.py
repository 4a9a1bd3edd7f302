"""What the wheel and the source distribution hold."""

from __future__ import annotations

import csv
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest


@pytest.fixture(scope='module')
def distributions(copy_project, tmp_path_factory) -> Path:
    """Folder with the source distribution, and the wheel that was built from it alone."""
    project = copy_project(tmp_path_factory.mktemp('project'))
    target = tmp_path_factory.mktemp('dist')
    built = subprocess.run(
        [sys.executable, '-m', 'build', '--no-isolation', '--outdir', target, project],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert built.returncode == 0, built.stdout
    return target


def test_the_source_distribution_holds_the_project(distributions, project_files):
    with tarfile.open(next(distributions.glob('*.tar.gz'))) as archive:
        held = {PurePosixPath(*PurePosixPath(member.name).parts[1:]): member
                for member in archive.getmembers()}
    # What only the repository has a use for begins with a dot.
    assert {file for file in project_files if not file.parts[0].startswith('.')} <= set(held)
    scripts = [member for path, member in held.items() if path.suffix == '.sh']
    assert scripts
    assert all(script.mode & 0o111 for script in scripts)


def test_the_wheel_holds_package_configs_tools_and_index(distributions, project_files):
    with zipfile.ZipFile(next(distributions.glob('*.whl'))) as archive:
        held = {PurePosixPath(info.filename): info for info in archive.infolist()}
        record = next(path for path in held if path.name == 'RECORD')
        recorded = list(csv.reader(archive.read(str(record)).decode().splitlines()))
    for_mim = {file for file in project_files
               if file.parts[0] in ('configs', 'tools') or file.name == 'model-index.yml'}
    package = {file for file in project_files if file.parts[0] == 'mmseg_encnet'}
    inside = {path for path in held if path.parts[0] == 'mmseg_encnet'}
    assert inside == package | {PurePosixPath('mmseg_encnet/.mim') / file for file in for_mim}
    scripts = [info for path, info in held.items() if path.suffix == '.sh']
    assert scripts
    assert all(script.external_attr >> 16 & 0o111 for script in scripts)
    # mim takes the folder of the first file recorded for the package's own.
    assert recorded[0][0].startswith('mmseg_encnet/')
