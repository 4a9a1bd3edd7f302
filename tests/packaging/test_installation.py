"""An installation works from any folder: mim, and user configs that inherit ours.

There is one test per installation, because creating one takes longer than most tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import venv
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.running.processes import run_training

PACKAGE = 'mmsegmentation-encnet'
CONFIG = 'encnet_r18_context-scenes.py'
# Two iterations on two scenes, without validation.
TINY = {
    **{
        f'{loader}_dataloader.{key}': value
        for loader in ('train', 'test')
        for key, value in (
            ('batch_size', 2),
            ('num_workers', 0),
            ('persistent_workers', False),
            ('dataset.num_scenes', 2),
        )
    },
    'train_cfg.max_iters': 2,
    'val_cfg': None,
    'val_dataloader': None,
    'val_evaluator': None,
    # The toolbox keeps one visualizer per name and process, with its first folder.
    'visualizer.name': 'tiny',
}
OPTIONS = ['--cfg-options', *(f'{key}={value}' for key, value in TINY.items())]
INSTALL = ['install', '--no-deps', '--no-build-isolation']

OWN_CONFIG = """
    _base_ = __import__('mmseg_encnet').config_file('encnet_r50_pcontext')

    model = dict(decode_head=dict(num_classes=3), auxiliary_head=dict(num_classes=3))
    train_cfg = dict(max_iters=_base_.train_cfg.max_iters * 2)
"""
# First with stock mmengine, before this package is imported.
READ_OWN_CONFIG = """
    import json
    from mmengine.config import Config
    stock = Config.fromfile('own.py')
    import mmseg_encnet
    from mmseg_encnet.configuration.loading import load_config
    shipped = Config.fromfile(mmseg_encnet.config_file('encnet_r50_pcontext.py'))
    ours = load_config('own.py')
    print('RESULT', json.dumps(dict(
        file=mmseg_encnet.config_file('encnet_r50_pcontext'),
        types=[cfg.model.decode_head.type for cfg in (stock, ours)],
        classes=[cfg.model.decode_head.num_classes for cfg in (shipped, stock, ours)],
        iterations=[cfg.train_cfg.max_iters for cfg in (shipped, stock, ours)])))
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment that shares only the installed toolbox with this one."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> Environment:
        venv.create(folder, symlinks=True)
        here = [path for path in sys.path if Path(path).name in ('site-packages', 'dist-packages')]
        environment = cls(folder)
        (environment.packages / 'here.pth').write_text('\n'.join(here))
        return environment

    @property
    def packages(self) -> Path:
        return next(self.folder.glob('lib/python*/site-packages'))

    def run(self, *arguments: str | Path, cwd: Path) -> str:
        """Run Python, check that it succeeds, and return its output."""
        variables = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
        # Without network access; mim would add its own list of wheels.
        variables.update(OMP_NUM_THREADS='1', PIP_NO_INDEX='1', MMCV_BASE_URL='file:///nowhere')
        done = subprocess.run(
            [self.folder / 'bin' / 'python', *arguments],
            cwd=cwd,
            env=variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, f'{" ".join(map(str, done.args))}\n{done.stdout}'
        return done.stdout

    def mim(self, *arguments: str | Path, cwd: Path) -> str:
        return self.run('-m', 'mim', *arguments, cwd=cwd)


def test_a_wheel_works(copy_project, tmp_path):
    clone = copy_project(tmp_path / 'clone')
    environment = Environment.create(tmp_path / 'environment')
    environment.mim(*INSTALL, clone, cwd=tmp_path)
    configs = environment.packages / 'mmseg_encnet' / '.mim' / 'configs'
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    check_search(environment, configs, elsewhere)
    check_own_config(environment, configs, elsewhere)
    check_train(environment, configs, elsewhere)
    check_test(environment, elsewhere)
    check_gridsearch(environment, elsewhere)


def test_an_editable_install_works_in_a_clone_that_has_been_used(copy_project, tmp_path):
    clone = copy_project(tmp_path / 'clone')
    environment = Environment.create(clone / '.venv')
    environment.mim(*INSTALL, '-e', '.', cwd=clone)
    # mim searches the whole clone for the name of the config, so neither the environment, nor
    # the leftovers of building a wheel, nor an earlier run may contain a second one.
    environment.run(
        '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '.', '-w', 'dist', cwd=clone
    )
    earlier = clone / 'work_dirs' / Path(CONFIG).stem
    run_training(load_config(str(clone / 'configs' / CONFIG), TINY, str(earlier)))
    assert (clone / 'build').is_dir() and (earlier / 'iter_2.pth').is_file()
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    check_search(environment, clone / 'configs', elsewhere)
    check_train(environment, clone / 'configs', elsewhere)


def check_search(environment: Environment, configs: Path, cwd: Path) -> None:
    environment.mim('search', PACKAGE, '--json', 'models.json', cwd=cwd)
    listed = json.loads((cwd / 'models.json').read_text())['config'].values()
    assert sorted(listed) == sorted(f'configs/{file.name}' for file in configs.glob('*.py'))


def check_own_config(environment: Environment, configs: Path, cwd: Path) -> None:
    (cwd / 'own.py').write_text(textwrap.dedent(OWN_CONFIG))
    printed = environment.run('-W', 'ignore', '-c', textwrap.dedent(READ_OWN_CONFIG), cwd=cwd)
    result = json.loads(printed.split('RESULT', 1)[1].splitlines()[0])
    assert result['file'] == str(configs / 'encnet_r50_pcontext.py')
    assert result['types'] == ['EncodingHead', 'EncodingHead']
    assert result['classes'] == [59, 3, 3]
    shipped, stock, ours = result['iterations']
    assert stock == ours == 2 * shipped


def check_train(environment: Environment, configs: Path, cwd: Path) -> None:
    printed = environment.mim('train', PACKAGE, CONFIG, '--work-dir', 'run', *OPTIONS, cwd=cwd)
    assert f'will use {configs / CONFIG} instead' in printed


def check_test(environment: Environment, cwd: Path) -> None:
    printed = environment.mim(
        'test',
        PACKAGE,
        CONFIG,
        '--checkpoint',
        'run/iter_2.pth',
        '--work-dir',
        'test',
        *OPTIONS,
        cwd=cwd,
    )
    assert 'mIoU: ' in printed


def check_gridsearch(environment: Environment, cwd: Path) -> None:
    environment.mim(
        'gridsearch',
        PACKAGE,
        CONFIG,
        '--work-dir',
        'search',
        *OPTIONS,
        '--search-args',
        '--optim_wrapper.optimizer.lr 0.01',
        cwd=cwd,
    )
    run = cwd / 'search_search_optim_wrapper.optimizer.lr_0.01'
    assert (run / 'iter_2.pth').is_file()
    assert Config.fromfile(run / 'config.py').optim_wrapper.optimizer.lr == 0.01
