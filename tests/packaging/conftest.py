"""The project as others get it: a clean copy of it, and environments it is installed into."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmseg_encnet.engine.launch import load_config, run_training

ROOT = Path(__file__).resolve().parents[2]
# Neither the network nor this checkout may help. mim adds a list of wheels of its own to pip's.
ENVIRONMENT = dict(
    {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'},
    OMP_NUM_THREADS='1', PIP_NO_INDEX='1', MMCV_BASE_URL='file:///nowhere')
CONFIG = 'encnet_r18_context-scenes'
# Two iterations on two scenes, nothing in between.
TINY = {
    **{f'{loader}_dataloader.{key}': value
       for loader in ('train', 'test')
       for key, value in (('batch_size', 2), ('num_workers', 0), ('persistent_workers', False),
                          ('dataset.num_scenes', 2))},
    'train_cfg.max_iters': 2,
    'val_cfg': None,
    'val_dataloader': None,
    'val_evaluator': None,
}


def run(command: Sequence[str | Path], cwd: Path) -> str:
    """Run a command that must succeed and return what it printed."""
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    assert done.returncode == 0, f'{" ".join(map(str, command))}\n{done.stdout}'
    return done.stdout


@dataclass(frozen=True)
class Installation:
    """The project in an environment of its own.

    Attributes:
        python: Interpreter of the environment.
        configs: Folder in which the installation has its configs.
    """

    python: Path
    configs: Path

    def mim(self, *arguments: str | Path, cwd: Path) -> str:
        return run([self.python, '-m', 'mim', *arguments], cwd)

    def execute(self, program: str, cwd: Path) -> str:
        return run([self.python, '-W', 'ignore', '-c', program], cwd)


def create_environment(folder: Path) -> Path:
    """Create an environment that sees the toolbox installed here; return its interpreter."""
    venv.create(folder, symlinks=True)
    packages = next(folder.glob('lib/python*/site-packages'))
    here = [path for path in sys.path if Path(path).name in ('site-packages', 'dist-packages')]
    (packages / 'here.pth').write_text('\n'.join(here))
    return folder / 'bin' / 'python'


@pytest.fixture(scope='session')
def tiny() -> list[str]:
    """Arguments of tools/train.py and tools/test.py that make a run on the scenes short."""
    return ['--cfg-options', *(f'{key}={value}' for key, value in TINY.items())]


@pytest.fixture(scope='session')
def project_files() -> list[Path]:
    """The files of the project, relative to its root: what git tracks or would track."""
    if not (ROOT / '.git').exists():
        pytest.skip('which files belong to the project is known in a git checkout only')
    listed = subprocess.run(
        ['git', '-c', 'safe.directory=*', 'ls-files', '-z', '--cached', '--others',
         '--exclude-standard'],
        cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(Path(name) for name in listed.split('\0') if (ROOT / name).is_file())


@pytest.fixture(scope='session')
def copy_project(project_files):
    """Copy the project, without anything built or run, to a folder."""

    def copy(target: Path) -> Path:
        for file in project_files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, target / file)
        return target

    return copy


@pytest.fixture(scope='session', params=[
    pytest.param(kind, marks=pytest.mark.xdist_group(f'installation-{kind}'))
    for kind in ('wheel', 'editable')])
def installation(request, copy_project, tmp_path_factory) -> Installation:
    """The project installed by mim: as a wheel, and in place in a clone that has been used."""
    clone = copy_project(tmp_path_factory.mktemp('clone'))
    install = ['-m', 'mim', 'install', '--no-deps', '--no-build-isolation']
    if request.param == 'wheel':
        python = create_environment(tmp_path_factory.mktemp('environment'))
        run([python, *install, clone], tmp_path_factory.getbasetemp())
        package = next(python.parents[1].glob('lib/python*/site-packages/mmseg_encnet'))
        return Installation(python, package / '.mim' / 'configs')

    # mim searches the whole clone for the config's name: neither the environment, nor what
    # building a wheel leaves behind, nor an earlier run may hold a second one.
    python = create_environment(clone / '.venv')
    run([python, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '.', '-w', 'dist'],
        clone)
    run([python, *install, '-e', '.'], clone)
    work_dir = clone / 'work_dirs' / CONFIG
    run_training(load_config(str(clone / 'configs' / f'{CONFIG}.py'), TINY, str(work_dir)))
    assert (clone / 'build').is_dir() and (work_dir / 'iter_2.pth').is_file()
    return Installation(python, clone / 'configs')
