"""The contents of the wheel and of the source distribution."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest


@pytest.fixture(scope='module')
def distributions(copy_project, tmp_path_factory) -> Path:
    """Return a folder with the source distribution and the wheel built from it."""
    project = copy_project(tmp_path_factory.mktemp('project'))
    target = tmp_path_factory.mktemp('dist')
    built = subprocess.run(
        [sys.executable, '-m', 'build', '--no-isolation', '--outdir', target, project],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert built.returncode == 0, built.stdout
    return target


def test_the_source_distribution_holds_the_project(distributions, project_files):
    with tarfile.open(next(distributions.glob('*.tar.gz'))) as archive:
        held = {
            PurePosixPath(*PurePosixPath(member.name).parts[1:]): member
            for member in archive.getmembers()
        }
    # Names of files that only the repository needs begin with a dot.
    assert {file for file in project_files if not file.parts[0].startswith('.')} <= set(held)
    scripts = [member for path, member in held.items() if path.suffix == '.sh']
    assert scripts
    assert all(script.mode & 0o111 for script in scripts)


def test_the_wheel_holds_package_configs_tools_and_index(distributions, project_files):
    with zipfile.ZipFile(next(distributions.glob('*.whl'))) as archive:
        held = {PurePosixPath(info.filename): info for info in archive.infolist()}
        record = next(path for path in held if path.name == 'RECORD')
        recorded = list(csv.reader(archive.read(str(record)).decode().splitlines()))
    for_mim = {
        file
        for file in project_files
        if file.parts[0] in ('configs', 'tools') or file.name == 'model-index.yml'
    }
    package = {file for file in project_files if file.parts[0] == 'mmseg_encnet'}
    inside = {path for path in held if path.parts[0] == 'mmseg_encnet'}
    kernels = {path for path in inside if path.name in ('kernels.so', 'kernels.dll')}
    expected = package | {PurePosixPath('mmseg_encnet/.mim') / file for file in for_mim}
    assert inside - kernels == expected
    assert len(kernels) == (4 if shutil.which('c++') else 0)
    scripts = [info for path, info in held.items() if path.suffix == '.sh']
    assert scripts
    assert all(script.external_attr >> 16 & 0o111 for script in scripts)
    # mim takes the folder of the first recorded file as that of the package.
    assert recorded[0][0].startswith('mmseg_encnet/')


def test_the_wheel_serves_every_python_and_its_kernels_work(distributions, tmp_path):
    (wheel,) = distributions.glob('*.whl')
    assert '-py3-none-' in wheel.name
    if not shutil.which('c++'):
        pytest.skip('the kernels need a C++ compiler')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    checked = subprocess.run(
        [sys.executable, Path(__file__).parent / 'wheel_check.py'],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(tmp_path)),
        text=True,
        capture_output=True,
    )
    assert checked.returncode == 0, checked.stderr
    assert 'kernels work' in checked.stdout


def test_a_wheel_without_a_compiler_lacks_the_kernels_alone(copy_project, tmp_path):
    project = copy_project(tmp_path / 'project')
    built = subprocess.run(
        [sys.executable, '-m', 'build', '--no-isolation', '--wheel', '--outdir', tmp_path, project],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(os.environ, CC='no-such-compiler', CXX='no-such-compiler'),
    )
    assert built.returncode == 0, built.stdout
    for part in (
        'ops.encode',
        'ops.upsampled_cross_entropy',
        'ops.upsampled_labels',
        'datasets.transforms',
    ):
        name = f'mmseg_encnet.{part}.native.kernels'
        assert f'building extension "{name}" failed' in built.stdout
    with zipfile.ZipFile(next(tmp_path.glob('*.whl'))) as archive:
        archive.extractall(tmp_path / 'installed')
    code = (
        'import torch; from mmseg_encnet.ops import encode; '
        'from mmseg_encnet.ops.encode import BACKENDS, native; '
        'assert BACKENDS["native"].refusal(), native.__file__; '
        'print(encode(torch.ones(1, 4, 3), torch.zeros(2, 4), torch.zeros(2)).tolist())'
    )
    printed = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        cwd=tmp_path / 'installed',
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert '[[[1.5, 1.5, 1.5, 1.5], [1.5, 1.5, 1.5, 1.5]]]' in printed
