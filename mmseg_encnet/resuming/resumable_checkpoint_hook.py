"""Checkpoints that survive a kill at any moment and from which training resumes exactly."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop
from torch import nn

from mmseg_encnet.checkpoints.whole_files import WHOLE_FILES, remove_leftovers, write_whole
from mmseg_encnet.errors import UserError
from mmseg_encnet.resuming.adapting import continue_run
from mmseg_encnet.resuming.process_state import (
    capture_process,
    restore_process,
    state_of_process,
    warn_of_other_threads,
)
from mmseg_encnet.resuming.random_states import capture_states, restore_states
from mmseg_encnet.resuming.run_record import RUN_RECORD, RunRecord, describe_run, to_plain
from mmseg_encnet.resuming.running_statistics import (
    average_running_statistics,
    own_statistics,
    restore_statistics,
)
from mmseg_encnet.resuming.seeded_samplers import continue_order

# The toolbox logs what starts with 'val' as a metric.
_VALIDATED = 'last_validation'
_INTERIM = 'checkpoint_of_a_stop'


@HOOKS.register_module()
class ResumableCheckpointHook(CheckpointHook):
    """The toolbox's ``CheckpointHook`` with checkpoints that are always complete.

    - A file is written under a temporary name and renamed; the files that it replaces
      (``max_keep_ckpts``, the former best one) are removed afterwards. A process killed at any
      moment leaves the last checkpoint readable, and the next run removes the temporary file.
    - A checkpoint also holds the random states of every process and, during gradient accumulation,
      the gradients, so a resumed run continues bit for bit on the CPU.
    - It records what the run was: samples, batch, config, seed and versions. A run that differs
      does not resume, unless the user accepts the change.
    - With norms that are not synchronised across processes, validation and checkpoint use the
      average of the processes' running statistics.
    - Random numbers drawn during validation do not affect training, and an interrupted validation
      is repeated.

    Takes the arguments of :class:`mmengine.hooks.CheckpointHook`.
    """

    _states: list[dict[str, Any]] | None = None
    _resumed: dict[str, Any] | None = None
    _record: RunRecord | None = None
    _has_states = False
    _before_validation: dict[str, Any] | None = None
    _saved_step: int | None = None
    _saved_validated: int | None = None
    _before_stop: dict[str, Any] | None = None
    _validated_first = False

    def _init_rule(self, rules, key_indicators) -> None:
        try:
            super()._init_rule(rules, key_indicators)
        except ValueError as error:
            keys = ', '.join(key_indicators)
            raise UserError(
                f'got save_best={keys!r}, but it is unknown whether a larger {keys} is better; set '
                "default_hooks.checkpoint.rule='greater' or rule='less'."
            ) from error

    def save_to_stop(self, runner, step: int, meta: dict[str, int]) -> str:
        """Write a checkpoint at which the training ends and from which it resumes exactly.

        It is written in all processes at once, after any iteration, even within a validation.
        Unlike other checkpoints it does not count for ``max_keep_ckpts``: the run that resumes from
        it removes it after its own next checkpoint.

        Args:
            runner: The runner.
            step: Number of completed iterations, or epochs if ``by_epoch``.
            meta: Numbers of completed iterations and epochs.

        Returns:
            The file.
        """
        if self._saved_step == step:
            return self.last_ckpt
        if self._before_validation is not None:
            restore_states(self._before_validation)
        # The statistics of this process, which an uninterrupted run would not average here.
        models = _models(runner)
        self._before_stop = dict(
            self._resumed or capture_process(runner), statistics=own_statistics(models)
        )
        former = runner.message_hub.runtime_info.get(_INTERIM)
        filename = self.filename_tmpl.format(step)
        runner.message_hub.update_info(_INTERIM, filename)
        limit, self.max_keep_ckpts = self.max_keep_ckpts, -1
        try:
            self._save_checkpoint_with_step(runner, step, meta)
        finally:
            self.max_keep_ckpts = limit
        self._remove_interim(former, kept=filename)
        return self.last_ckpt

    def before_train(self, runner) -> None:
        super().before_train(runner)
        local = type(self.file_backend) is LocalBackend and self.file_client_args is None
        if local and not self.backend_args:
            self.backend_args = dict(backend=WHOLE_FILES)
            self.file_backend = get_file_backend(self.out_dir, backend_args=self.backend_args)
        if local and is_main_process():
            remove_leftovers(Path(self.out_dir))
        if self.max_keep_ckpts > 0:
            # Without a limit: the outdated checkpoint stays in the list until it is removed.
            self.keep_ckpt_ids = deque(self.keep_ckpt_ids)
        continue_order(runner)
        if self._record is None and is_main_process():
            self._record = describe_run(runner)
        if self._has_states and _validation_missed(runner):
            step = runner.epoch if self.by_epoch else runner.iter
            interim = runner.message_hub.runtime_info.get(_INTERIM)
            # An uninterrupted run has no checkpoint there to write again after the validation.
            self._saved_step = None if interim == self.filename_tmpl.format(step) else step
            self._saved_validated = runner.message_hub.runtime_info.get(_VALIDATED)
            self._validated_first = True
            runner.val_loop.run()

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        # Not earlier, because starting the data loader draws random numbers.
        if self._resumed is not None:
            restore_process(runner, self._resumed)
            if not self._validated_first:
                restore_statistics(_models(runner), self._resumed.get('statistics'))
            self._resumed = None

    def before_val(self, runner) -> None:
        self._before_validation = capture_states()

    def before_val_epoch(self, runner) -> None:
        # After an EMAHook, which swaps the weights.
        average_running_statistics(_models(runner))

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        if self._before_validation is not None:
            restore_states(self._before_validation)
            self._before_validation = None
        runner.message_hub.update_info(_VALIDATED, runner.iter)
        if not hasattr(self, 'file_backend'):
            # A validation without training, which saves nothing.
            return
        super().after_val_epoch(runner, metrics)
        # The checkpoint of this iteration or epoch was written before the validation.
        step = runner.epoch if self.by_epoch else runner.iter
        if self._saved_step == step and self._saved_validated != runner.iter:
            self._save_checkpoint_with_step(
                runner, step, dict(epoch=runner.epoch, iter=runner.iter)
            )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if 'optimizer' in checkpoint:
            checkpoint['process_states'] = self._states
            if self._record is not None:
                checkpoint[RUN_RECORD] = to_plain(self._record._replace(seed=runner.seed))

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if not runner._resume:
            self._has_states = False
            return
        self._record = continue_run(runner, checkpoint)
        states = checkpoint.get('process_states')
        self._has_states = bool(states)
        if states:
            # Without the statistics of each process if their number has changed.
            self._resumed = dict(state_of_process(states))
            warn_of_other_threads(runner, self._resumed)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        average_running_statistics(_models(runner))
        # After a repeated validation, what was loaded is not restored yet.
        own = self._before_stop or self._resumed or capture_process(runner)
        self._states = all_gather_object(own)
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            self.keep_ckpt_ids.append(step)
            # Includes the one removed below: if killed before that, the resumed run removes it.
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._saved_step = step
        self._saved_validated = runner.message_hub.runtime_info.get(_VALIDATED)
        if is_main_process():
            write_whole(Path(runner.work_dir) / 'last_checkpoint', os.fsencode(self.last_ckpt))
        if self._before_stop is None and runner.message_hub.runtime_info.get(_INTERIM):
            self._remove_interim(runner.message_hub.runtime_info[_INTERIM], kept=filename)
            runner.message_hub.update_info(_INTERIM, None)

        while 0 < self.max_keep_ckpts < len(self.keep_ckpt_ids):
            outdated = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
            if is_main_process():
                _remove(self.file_backend, self.file_backend.join_path(self.out_dir, outdated))

    def _remove_interim(self, interim: str | None, kept: str) -> None:
        """Remove the checkpoint at which this run was stopped before, unless it is ``kept``."""
        if interim not in (None, kept) and is_main_process():
            _remove(self.file_backend, self.file_backend.join_path(self.out_dir, interim))

    def _save_best_checkpoint(self, runner, metrics: dict[str, float]) -> None:
        with self._removing_afterwards():
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _removing_afterwards(self) -> Iterator[None]:
        """Delay removals by the toolbox's code until the replacements are written."""
        backend, self.file_backend = self.file_backend, _DeferredRemoval(self.file_backend)
        try:
            yield
            outdated = self.file_backend.outdated
        finally:
            self.file_backend = backend
        best = [
            getattr(self, 'best_ckpt_path', None),
            *getattr(self, 'best_ckpt_path_dict', {}).values(),
        ]
        for path in outdated:
            if path not in best:
                _remove(backend, path)


class _DeferredRemoval:
    """A file backend that only records removals."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.outdated: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.outdated.append(path)

    rmtree = remove


def _models(runner) -> list[nn.Module]:
    """Return the model and, with an ``EMAHook``, its average."""
    averages = [getattr(hook, 'ema_model', None) for hook in runner.hooks]
    return [runner.model, *(model for model in averages if model is not None)]


def _remove(backend: Any, path: str) -> None:
    if backend.isfile(path):
        backend.remove(path)
    elif backend.isdir(path):
        # Deepspeed's checkpoints are folders.
        backend.rmtree(path)


def _validation_missed(runner) -> bool:
    """Return whether the run was interrupted between an iteration or epoch and its validation."""
    loop = runner.train_loop
    if runner.val_loop is None or not loop.iter:
        return False
    if isinstance(loop, EpochBasedTrainLoop):
        step, last = loop.epoch, loop.max_epochs
    else:
        step, last = loop.iter, loop.max_iters
    loop._decide_current_val_interval()
    due = step >= loop.val_begin and (step % loop.val_interval == 0 or step == last)
    return due and runner.message_hub.runtime_info.get(_VALIDATED) != loop.iter
