"""Run a config in one or several processes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from mmengine.config import Config
from torch import distributed

from mmseg_encnet.checkpoints.shipped_weights import checkpoint_name
from mmseg_encnet.configuration.switches import drop_scores
from mmseg_encnet.errors import UserError
from mmseg_encnet.running.runner import EncNetRunner

# Messages of gloo, while running or connecting.
_LOST_PROCESS = re.compile(
    r'Connection (closed|reset) by peer|Broken pipe|Timed out waiting|timeout caused pair closure|'
    r'[Cc]onnect(FullMesh)? .*(failed|timeout)|client socket has (failed|timed out)'
)
_SECONDS_UNTIL_LAUNCHER_ENDS_US = 3.0


def start_process_group(launcher: str, timeout: float | None = None) -> None:
    """Join the processes of a distributed run on a machine without GPUs.

    mmengine always selects a GPU when it joins a process group, but keeps an existing group.

    Args:
        launcher: Launcher that started the processes.
        timeout: Seconds that a process waits for another one. Default: PyTorch's half hour.

    Raises:
        UserError: The launcher is not ``pytorch`` and no GPU is available.
    """
    if launcher == 'none' or torch.cuda.is_available() or distributed.is_initialized():
        return
    if launcher != 'pytorch':
        raise UserError(
            f'launcher {launcher!r} needs a GPU for every process, and none is available; without '
            'GPUs, start with tools/dist_train.sh.'
        )
    distributed.init_process_group(
        'gloo', timeout=None if timeout is None else timedelta(seconds=timeout)
    )


def run_training(cfg: Config) -> None:
    """Train a config."""
    with _process_group(cfg):
        EncNetRunner.from_cfg(cfg).train()


def run_test(cfg: Config, checkpoint: str) -> dict[str, float]:
    """Evaluate a checkpoint on a config's test set and return the metrics."""
    cfg.load_from = checkpoint_name(checkpoint, cfg.filename)
    cfg.resume = False
    drop_scores(cfg)
    with _process_group(cfg):
        return EncNetRunner.from_cfg(cfg).test()


@contextmanager
def _process_group(cfg: Config) -> Iterator[None]:
    """Join the process group of a run, if it has several processes, and leave it afterwards.

    Raises:
        UserError: Another process of the run has ended or does not respond.
    """
    try:
        start_process_group(cfg.launcher, cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout'))
        yield
    except RuntimeError as error:
        if not _LOST_PROCESS.search(str(error)):
            raise
        # On the same machine, the launcher ends this process meanwhile, which leaves only the error
        # of the other process in the output.
        time.sleep(_SECONDS_UNTIL_LAUNCHER_ENDS_US)
        raise UserError(
            'another process of the run has ended or does not respond; look for its error in the '
            'output of its machine.'
        ) from error
    if distributed.is_initialized():
        distributed.destroy_process_group()
