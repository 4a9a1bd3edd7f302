"""Stop a training on request, with a checkpoint from which it resumes exactly."""

from __future__ import annotations

import math
import os
from numbers import Real
from pathlib import Path
from typing import Any, NoReturn

from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import CheckpointHook, EMAHook, Hook, LoggerHook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop

from mmseg_encnet.errors import UserError
from mmseg_encnet.resuming import ResumableCheckpointHook
from mmseg_encnet.running.explain import Stopped
from mmseg_encnet.running.stopping import current, forget, own_store


def check_hours(hours: Any, name: str) -> None:
    """Check a time limit in hours.

    Raises:
        UserError: It is not a positive finite number.
    """
    valid = isinstance(hours, Real) and not isinstance(hours, bool)
    if not valid or not math.isfinite(hours) or hours <= 0:
        raise UserError(f'{name} must be a positive number of hours, got {hours}.')


def limit_hours(cfg: Config, hours: float) -> None:
    """Make a config stop after a time, as with ``--max-hours``.

    Raises:
        UserError: The time is not a positive finite number.
    """
    check_hours(hours, '--max-hours')
    hooks = list(cfg.get('custom_hooks') or [])
    hooks = [hook for hook in hooks if not (isinstance(hook, dict) and _is_stop(hook))]
    cfg.custom_hooks = [*hooks, dict(type='mmengine.StopHook', max_hours=hours)]


def _is_stop(hook: dict[str, Any]) -> bool:
    kind = hook.get('type')
    return kind is StopHook or (isinstance(kind, str) and kind.rpartition('.')[2] == 'StopHook')


@HOOKS.register_module()
class StopHook(Hook):
    """Ends a training on a signal or after a time, with a checkpoint of its last iteration.

    All processes finish the same iteration, see :mod:`mmseg_encnet.running.stopping`. A validation
    is abandoned, and repeated when the run resumes. Epoch-based training resumes from the end of an
    epoch only, so it writes no checkpoint within one.

    Args:
        max_hours: Hours from the start of the program after which to stop. Default: no limit.
    """

    # After the hooks that save checkpoints.
    priority = 'LOWEST'

    def __init__(self, max_hours: float | None = None) -> None:
        if max_hours is not None:
            check_hours(max_hours, 'max_hours of StopHook')
        self.max_hours = max_hours
        self._validating = False

    def before_run(self, runner) -> None:
        if not isinstance(runner._train_loop, BaseLoop):
            return
        if get_world_size() > 1:
            current().join(own_store('stopping'), get_rank(), get_world_size())
        if self.max_hours is not None:
            current().stop_after(self.max_hours * 3600)

    def at_gate(self, runner) -> None:
        """Stop before the next iteration, if all processes have agreed on it."""
        if not current().advance(3 * (runner.iter + 1)):
            self._stop(runner, runner.iter)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        loop = runner.train_loop
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        if by_epoch and batch_idx + 1 == len(loop.dataloader):
            # The checkpoint of the epoch comes first.
            return
        if not current().advance(3 * (runner.iter + 1) + 1):
            self._stop(runner, runner.iter + 1, within_epoch=by_epoch)

    def after_train_epoch(self, runner) -> None:
        if isinstance(runner.train_loop, EpochBasedTrainLoop) and not current().advance(
            3 * runner.iter + 1
        ):
            self._stop(runner, runner.iter, epoch=runner.epoch + 1)

    def before_val_epoch(self, runner) -> None:
        self._validating = True

    def before_val_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        if current().stops_here:
            self._stop(runner, runner.iter)

    def after_val_iter(
        self, runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        # Next, the metrics are computed, for which the processes need each other.
        last = batch_idx + 1 == len(runner.val_loop.dataloader)
        if last and current().started and not current().advance(3 * runner.iter + 2):
            self._stop(runner, runner.iter)

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        self._validating = False

    def after_train(self, runner) -> None:
        current().finish()
        # Another training in this process starts from the beginning.
        forget()

    def _stop(
        self, runner, done: int, within_epoch: bool = False, epoch: int | None = None
    ) -> NoReturn:
        """Write a checkpoint and end the training.

        Args:
            runner: The runner.
            done: Number of completed iterations.
            within_epoch: Whether an epoch-based training is inside an epoch.
            epoch: Number of completed epochs, if the toolbox has not counted the last one yet.
        """
        if self._validating:
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
                    # Validation swaps the weights with their average.
                    hook.after_val_epoch(runner)
        checkpoints = next(
            (hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None
        )
        epoch = runner.epoch if epoch is None else epoch
        file = None
        if checkpoints is not None and not within_epoch:
            meta = dict(epoch=epoch, iter=done)
            step = epoch if checkpoints.by_epoch else done
            if isinstance(checkpoints, ResumableCheckpointHook):
                file = checkpoints.save_to_stop(runner, step, meta)
            else:
                checkpoints._save_checkpoint_with_step(runner, step, meta)
                file = checkpoints.last_ckpt
        for hook in runner.hooks:
            if isinstance(hook, LoggerHook):
                # Writes what is buffered.
                hook.after_run(runner)
        agreement = current()
        agreement.wait_for_others()
        agreement.settle()
        reason = agreement.reason
        where = f'in epoch {epoch + 1}' if within_epoch else f'after iteration {done}'
        resume = getattr(runner, 'resume_command', '--resume')
        if file is not None:
            kept = f'checkpoint {file} is written; continue with {resume}.'
        elif within_epoch and checkpoints is not None:
            last = Path(runner.work_dir, 'last_checkpoint')
            kept = 'epoch-based training resumes from the end of an epoch; ' + (
                f'continue from {os.fsdecode(last.read_bytes())} with {resume}.'
                if last.is_file()
                else 'no epoch was completed.'
            )
        else:
            kept = 'the config has no CheckpointHook, so no checkpoint is written.'
        raise Stopped(f'training stopped by {reason.name} {where}; {kept}', reason.status)


class GateHook(Hook):
    """Calls the :class:`StopHook` before an iteration, ahead of all other hooks."""

    priority = 'HIGHEST'

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        next(hook for hook in runner.hooks if isinstance(hook, StopHook)).at_gate(runner)
