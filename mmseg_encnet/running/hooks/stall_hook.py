"""End a run that makes no progress."""

from __future__ import annotations

from numbers import Real
from pathlib import Path
from typing import Any

from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop

from mmseg_encnet.errors import UserError
from mmseg_encnet.running.stalls import PATIENCE, Watchdog, default_seconds
from mmseg_encnet.running.stopping import current, own_store


@HOOKS.register_module()
class StallHook(Hook):
    """Ends a run in which a step takes too long, and names the process that it waits for.

    Every iteration of a training, validation or test is progress, so their length does not matter.
    The start, the first iteration, metrics and checkpoints may take six times the limit. See
    :mod:`mmseg_encnet.running.stalls`.

    Args:
        seconds: Limit for a step, 0 for none. Default: the environment variable
            ``MMSEG_ENCNET_STALL_SECONDS``, or 300.
    """

    # The step includes all other hooks.
    priority = 'HIGHEST'

    def __init__(self, seconds: float | None = None) -> None:
        seconds = default_seconds() if seconds is None else seconds
        if not isinstance(seconds, Real) or not 0 <= seconds < float('inf'):
            raise UserError(
                f'seconds of StallHook must be a number, or 0 for no limit, got {seconds}.'
            )
        self.seconds = seconds
        self._watchdog: Watchdog | None = None
        self._patience = PATIENCE

    def before_run(self, runner) -> None:
        if not self.seconds or self._watchdog is not None:
            return
        training = isinstance(runner._train_loop, BaseLoop)
        several = get_world_size() > 1
        self._watchdog = Watchdog(
            self.seconds,
            Path(runner.log_dir),
            get_rank(),
            get_world_size(),
            own_store('stalls') if several else None,
            'training' if training else 'test',
            current().clean_up,
        )

    def after_run(self, runner) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching, as after an exception."""
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None

    def before_train_epoch(self, runner) -> None:
        self._beat(f'for the first batch of iteration {runner.iter + 1}')

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        self._beat(f'in training iteration {runner.iter + 1}', self._patience)
        self._patience = 1

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        self._beat(f'after training iteration {runner.iter + 1}')

    def before_val_epoch(self, runner) -> None:
        self._beat(f'for the first batch of the validation after iteration {runner.iter}')

    def before_val_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        self._step(runner, 'validation', batch_idx)

    def after_val_iter(
        self, runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._after(runner.val_loop, 'validation', batch_idx)

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        self._beat(f'after the validation of iteration {runner.iter}')

    def before_test_epoch(self, runner) -> None:
        self._beat('for the first batch of the test')

    def before_test_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        self._step(runner, 'test', batch_idx)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._after(runner.test_loop, 'test', batch_idx)

    def _step(self, runner, loop: str, index: int) -> None:
        self._beat(f'in {loop} iteration {index + 1}', 1 if index else PATIENCE)

    def _after(self, loop: BaseLoop, name: str, index: int) -> None:
        if index + 1 == len(loop.dataloader):
            self._beat(f'in the metrics of the {name}', PATIENCE)
        else:
            self._beat(f'after {name} iteration {index + 1}')

    def _beat(self, where: str, patience: float = 1) -> None:
        if self._watchdog is not None:
            self._watchdog.beat(where, patience)
