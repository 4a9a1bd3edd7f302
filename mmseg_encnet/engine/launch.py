"""What the command line tools share: from a config file to a running training or test."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import find_latest_checkpoint
from torch import distributed

from ..config_files import config_file
from ..errors import UserError
from .config_check import check_types
from .runner import EncNetRunner
from .safe_loading import refuse_code_in_checkpoints

# What gloo says, on the way or while connecting.
_LOST_PROCESS = re.compile(
    r'Connection (closed|reset) by peer|Broken pipe|Timed out waiting|timeout caused pair closure|'
    r'[Cc]onnect(FullMesh)? .*(failed|timeout)|client socket has (failed|timed out)')
_SECONDS_TO_BE_ENDED = 3.0


class _OptionsAction(DictAction):
    """The toolbox's ``KEY=VALUE`` options; it fails on anything else without saying so."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        for value in values:
            if '=' not in value:
                raise UserError(f'{option_string} {value} came, expected KEY=VALUE; lists as '
                                'KEY="[a,b]", without white space.')
        super().__call__(parser, namespace, values, option_string)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that every tool which runs a config has."""
    parser.add_argument('config', help='config file, or the name of a shipped one')
    add_options_argument(parser)


def add_options_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument that overrides entries of a config."""
    parser.add_argument(
        '--cfg-options', nargs='+', action=_OptionsAction, default={}, metavar='KEY=VALUE',
        help='override entries of the config, e.g. data_root=DIR train_cfg.max_iters=100; '
        'lists as key="[a,b]", without white space')


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of tools that leave logs and that a distributed launcher can start."""
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; '
                        'work_dirs/CONFIG if not given')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='what started the processes')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0,
                        help=argparse.SUPPRESS)


def load_config(path: str, options: dict[str, Any] | None = None, work_dir: str | None = None,
                launcher: str = 'none') -> Config:
    """Read a config file and apply what the command line changes.

    Args:
        path: A config file, or the name of a shipped one.
        options: Overrides by dotted key. ``data_root`` alone moves every data set of the config
            that lay in its ``data_root``.
        work_dir: Folder for logs and checkpoints; ``work_dirs/NAME`` if neither this nor the
            config says.
        launcher: What started the processes: ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Raises:
        UserError: If there is no such config, it cannot be read, an option does not fit it, or it
            names a type that is not registered.
    """
    if not Path(path).is_file():
        if Path(path).name != path:
            raise UserError(f'config file {path} does not exist; check the path.')
        path = config_file(path)
    refuse_code_in_checkpoints()
    try:
        cfg = Config.fromfile(path)
    except Exception as error:
        # A failed import goes on with all of sys.path.
        reason = ' '.join(str(error).partition(', the current sys.path')[0].split())
        raise UserError(f'config file {path} cannot be read: {type(error).__name__}: {reason}; '
                        'correct the file.') from error
    _override(cfg, options or {})
    check_types(cfg)
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    return cfg


def use_mixed_precision(cfg: Config) -> None:
    """Switch a config's training to automatic mixed precision.

    Raises:
        UserError: Without a GPU, where the toolbox has no mixed precision.
    """
    if not torch.cuda.is_available():
        raise UserError('--amp came, but mixed precision needs a GPU and none is here; leave '
                        '--amp out.')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def use_test_time_augmentation(cfg: Config, prefix: str = '') -> None:
    """Switch a config's test to its ``tta_model`` and ``tta_pipeline``.

    Args:
        cfg: The config, changed in place.
        prefix: ``published_`` for the pair of that prefix: the evaluation of the published figures.

    Raises:
        UserError: If the config has none.
    """
    keys = f'{prefix}tta_model', f'{prefix}tta_pipeline'
    missing = [key for key in keys if key not in cfg]
    if missing:
        option = f'--{prefix}tta'.replace('_', '-')
        raise UserError(f'{option} came, but the config has no {" and no ".join(missing)}; inherit '
                        'from one of the shipped data set bases.')
    model, pipeline = (cfg[key] for key in keys)
    cfg.test_dataloader.dataset.pipeline = pipeline
    cfg.model = dict(model, module=cfg.model)


def save_predictions(cfg: Config, out_dir: str) -> None:
    """Have the test write its predictions, one PNG of class indices an image, to a folder."""
    evaluators = cfg.test_evaluator
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        if evaluator['type'] == 'IoUMetric':
            evaluator['output_dir'] = out_dir


def draw_predictions(cfg: Config, out_dir: str) -> None:
    """Have the test draw truth and prediction over every image, into a folder."""
    cfg.default_hooks.visualization = dict(type='SegVisualizationHook', draw=True)
    cfg.visualizer.save_dir = out_dir
    # Under the name of one that exists already the process would go on with that one's folder.
    cfg.visualizer.name = f'draw into {out_dir}'


def resume_training(cfg: Config) -> None:
    """Have a training go on from the last checkpoint in its work dir.

    Without one it starts as the config says. The toolbox would go on from ``load_from``, at the
    iteration at which the training ended that wrote those weights.
    """
    cfg.resume = cfg.get('load_from') is None or find_latest_checkpoint(cfg.work_dir) is not None
    if cfg.resume:
        cfg.load_from = None


def start_process_group(launcher: str, timeout: float | None = None) -> None:
    """Join the processes of a distributed run on a machine without GPUs.

    mmengine selects a GPU unconditionally when it joins; a group that exists is left alone.

    Args:
        launcher: What started the processes.
        timeout: Seconds after which a process that waits for another one gives up; PyTorch's half
            an hour if not given.

    Raises:
        UserError: For launchers other than ``pytorch`` where there is no GPU.
    """
    if launcher == 'none' or torch.cuda.is_available() or distributed.is_initialized():
        return
    if launcher != 'pytorch':
        raise UserError(f'launcher {launcher!r} needs a GPU in every process and none is here; on '
                        'machines without GPUs start with tools/dist_train.sh.')
    distributed.init_process_group(
        'gloo', timeout=None if timeout is None else timedelta(seconds=timeout))


def run_training(cfg: Config) -> None:
    """Train a config to its end."""
    with _process_group(cfg):
        EncNetRunner.from_cfg(cfg).train()


def run_test(cfg: Config, checkpoint: str) -> dict[str, float]:
    """Evaluate a checkpoint on a config's test set and return the metrics."""
    cfg.load_from = checkpoint
    cfg.resume = False
    with _process_group(cfg):
        return EncNetRunner.from_cfg(cfg).test()


@contextmanager
def _process_group(cfg: Config) -> Iterator[None]:
    """The process group of a run, if it has several processes.

    Raises:
        UserError: If another process of the run has ended, or does not answer.
    """
    try:
        start_process_group(cfg.launcher, cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout'))
        yield
    except RuntimeError as error:
        if not _LOST_PROCESS.search(str(error)):
            raise
        # On the same machine the launcher ends this process meanwhile, and only what the other
        # one said remains to be read.
        time.sleep(_SECONDS_TO_BE_ENDED)
        raise UserError(
            'this process lost another process of the run, which ended or does not answer; look '
            'for its error in the output of its machine.') from error
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _override(cfg: Config, options: dict[str, Any]) -> None:
    if 'data_root' in options:
        _move_data_root(cfg, options['data_root'])
    # One by one, to name the one that does not fit; what empties an entry goes first.
    for key in sorted(options, key=lambda key: not key.endswith('._delete_')):
        _open_empty_entries(cfg, key)
        try:
            cfg.merge_from_dict({key: options[key]})
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(f'--cfg-options {key}={options[key]} does not fit the config: '
                            f'{str(error.args[0]).partition(". ")[0]}; check the key.') from error


def _open_empty_entries(cfg: Config, key: str) -> None:
    """Let an option reach into an entry that the config has set to None, such as ``init_cfg``."""
    node = cfg
    for name in key.split('.')[:-1]:
        if not isinstance(node, (dict, Config)) or name not in node:
            return
        if node[name] is None:
            node[name] = {}
        node = node[name]


def _move_data_root(cfg: Config, data_root: str) -> None:
    """Put the data sets that lie in the config's data root into another one."""
    former = cfg.get('data_root')
    if former is None:
        raise UserError(f'--cfg-options data_root={data_root} came, but the config has no '
                        'data_root: its data sets do not lie in one folder.')

    def move(node: Any) -> None:
        if isinstance(node, dict):
            if node.get('data_root') == former:
                node['data_root'] = data_root
            for value in node.values():
                move(value)
        elif isinstance(node, Sequence) and not isinstance(node, str):
            for value in node:
                move(value)

    move(cfg._cfg_dict)
