"""Run a config in one or several processes."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from torch import distributed

from mmseg_encnet.checkpoints.publishing import publish_checkpoint
from mmseg_encnet.checkpoints.shipped_weights import checkpoint_name
from mmseg_encnet.disk import check_folder
from mmseg_encnet.errors import UserError
from mmseg_encnet.folder_lock import FolderLock
from mmseg_encnet.running.explain import Stopped, report
from mmseg_encnet.running.hooks.runtime_hook import RuntimeHook
from mmseg_encnet.running.parent import end_with_parent
from mmseg_encnet.running.runner import EncNetRunner
from mmseg_encnet.running.stopping import Agreement, current, stopping_on_signals

# Messages of gloo and NCCL, while running or connecting.
_LOST_PROCESS = re.compile(
    r'Connection (closed|reset) by peer|Broken pipe|Timed out waiting|timeout caused pair closure|'
    r'[Cc]onnect(FullMesh)? .*(failed|timeout)|client socket has (failed|timed out)|'
    r'ncclRemoteError|collective operation timeout|NCCL communicator was aborted|'
    r'wait timeout after|Timed out after \d+ seconds waiting for clients'
)
_NCCL = re.compile(
    r'\bNCCL (error|unhandled|invalid)|Failed to initialize NCCL|Duplicate GPU', re.I
)
# Variables with the rank of a process, by launcher.
_RANKS = {
    'none': (),
    'pytorch': ('RANK',),
    'slurm': ('SLURM_PROCID',),
    'mpi': ('OMPI_COMM_WORLD_RANK',),
}
_SECONDS_UNTIL_LAUNCHER_ENDS_US = 3.0


def start_process_group(launcher: str, timeout: float | None = None) -> None:
    """Join the processes of a distributed run on a machine without GPUs.

    mmengine always selects a GPU when it joins a process group, but keeps an existing group.

    Args:
        launcher: Launcher that started the processes.
        timeout: Seconds that a process waits for another one. Default: PyTorch's half hour.

    Raises:
        UserError: The launcher is not ``pytorch`` and no GPU is available, or this machine has
            fewer GPUs than processes.
    """
    if launcher == 'none' or distributed.is_initialized():
        return
    if torch.cuda.is_available():
        _check_number_of_gpus()
        return
    if launcher != 'pytorch':
        raise UserError(
            f'launcher {launcher!r} needs a GPU for every process, and none is available; without '
            'GPUs, start with tools/dist_train.sh.'
        )
    distributed.init_process_group(
        'gloo', timeout=None if timeout is None else timedelta(seconds=timeout)
    )


def _check_number_of_gpus() -> None:
    # Set by torchrun. mmengine would start two processes on one GPU, and NCCL refuses that.
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
    gpus = torch.cuda.device_count()
    if processes > gpus:
        raise UserError(
            f'got {processes} processes, but PyTorch finds {gpus} GPU{"s" * (gpus > 1)} on this '
            f'machine; start at most {gpus}, or check nvidia-smi and CUDA_VISIBLE_DEVICES.'
        )


def run_training(
    cfg: Config, weights: Path | None = None, accepted_changes: Collection[str] = ()
) -> None:
    """Train a config.

    See :func:`training_process` for locks and signals.

    Args:
        cfg: The config.
        weights: File for the weights of the best checkpoint, or of the last one if none is kept as
            the best; see :func:`~mmseg_encnet.checkpoints.publishing.publish_checkpoint`.
        accepted_changes: Kinds of changes with which a run resumes, see
            :mod:`mmseg_encnet.configuration.kinds`.

    Raises:
        UserError: The work dir cannot be written to or another training uses it, weights were asked
            for and the config saves no checkpoint, or as :class:`EncNetRunner` describes.
        Stopped: The training has stopped on request.
    """
    with training_process(cfg):
        runner = EncNetRunner.from_cfg(cfg)
        runner.accepted_changes = accepted_changes
        runner.train()
        if weights is not None and is_main_process():
            publish_checkpoint(_final_checkpoint(runner), weights)


@contextmanager
def training_process(cfg: Config) -> Iterator[None]:
    """Run a training of a config inside: with a locked work dir, on signals with a checkpoint.

    Raises:
        UserError: The work dir cannot be written to or another training uses it, or another process
            of the run has ended.
        Stopped: The training has stopped on request.
    """
    check_folder(cfg.work_dir, 'work dir')
    with stopping_on_signals() as agreement, _process_group(cfg), _locked(cfg, agreement):
        yield


def _final_checkpoint(runner: EncNetRunner) -> str:
    info = runner.message_hub.runtime_info
    for key in ('best_ckpt', 'last_ckpt'):
        if info.get(key):
            return info[key]
    raise UserError(
        f'the training in {runner.work_dir} saved no checkpoint; set '
        'default_hooks.checkpoint.interval.'
    )


def run_test(
    cfg: Config, checkpoint: str, runtime: str = 'torch', precision: str = 'float32'
) -> dict[str, float]:
    """Evaluate a checkpoint on a config's test set and return the metrics.

    Args:
        cfg: The config.
        checkpoint: Checkpoint file, its address, or ``'pretrained'``.
        runtime: What computes the network, see :mod:`mmseg_encnet.runtimes`.
        precision: ``'float32'`` or ``'bfloat16'``.

    Raises:
        UserError: The runtime cannot compute in the precision, a package is not installed, or as
            :class:`EncNetRunner` describes.
    """
    hook = RuntimeHook(runtime, precision)
    cfg.load_from = checkpoint_name(checkpoint, cfg.filename)
    cfg.resume = False
    check_folder(cfg.work_dir, 'work dir')
    with stopping_on_signals(), _process_group(cfg):
        runner = EncNetRunner.from_cfg(cfg)
        runner.register_hook(hook)
        return runner.test()


@contextmanager
def _locked(cfg: Config, agreement: Agreement) -> Iterator[None]:
    """Lock the work dir of a training, in the main process.

    Raises:
        UserError: Another training uses it, in all processes. Those on GPUs, whose group does not
            exist yet, are ended by their launcher instead.
    """
    # Set by the launchers.
    rank = next((os.environ[name] for name in _RANKS[cfg.launcher] if name in os.environ), '0')
    with ExitStack() as stack:
        refused: list[str | None] = [None]
        if rank == '0':
            lock = FolderLock(
                Path(cfg.work_dir),
                f'work dir {cfg.work_dir}',
                'choose another one with --work-dir',
                lost=_end,
            )
            try:
                stack.enter_context(lock)
            except UserError as error:
                refused = [error.args[0]]
            agreement.at_end.append(lock.release)
        if distributed.is_initialized():
            broadcast_object_list(refused)
        if refused[0] is not None:
            raise UserError(refused[0])
        yield


def _end(sentence: str) -> NoReturn:
    """End this process with an error, from any thread."""
    report(sentence)
    sys.stderr.flush()
    os._exit(2)


@contextmanager
def _process_group(cfg: Config) -> Iterator[None]:
    """Join the process group of a run, if it has several processes, and leave it afterwards.

    Raises:
        UserError: Another process of the run has ended or does not respond, or NCCL failed.
    """
    if 'TORCHELASTIC_RUN_ID' in os.environ and cfg.launcher == 'pytorch':
        # tools/torchrun.py has done it already, for this process alone.
        end_with_parent(os.getppid())
    try:
        start_process_group(cfg.launcher, cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout'))
        yield
    except RuntimeError as error:
        message = str(error)
        if _NCCL.search(message) and 'ncclRemoteError' not in message:
            last = re.search(r'Last error:\s*(.+)', message)
            reason = last.group(1).strip() if last else message.strip().splitlines()[0]
            raise UserError(
                f'NCCL, which connects the GPUs, failed ({reason}); check the GPUs '
                'and the network of every machine, and set NCCL_DEBUG=WARN for details.'
            ) from error
        if not _LOST_PROCESS.search(message):
            raise
        # On the same machine, the launcher ends this process meanwhile, which leaves only the error
        # of the other process in the output.
        time.sleep(_SECONDS_UNTIL_LAUNCHER_ENDS_US)
        stop = current().reason
        if stop is not None:
            raise Stopped(
                f'stopped by {stop.name} without a new checkpoint, because another process of '
                'the run has ended.',
                stop.status,
            ) from error
        raise UserError(
            'another process of the run has ended or does not respond; look for its error in the '
            'output of its machine.'
        ) from error
    if distributed.is_initialized():
        distributed.destroy_process_group()
