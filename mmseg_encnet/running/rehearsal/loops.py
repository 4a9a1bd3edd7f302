"""Refuse loops, samplers, schedules and hooks that do not fit together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.hooks import CheckpointHook
from mmengine.optim.scheduler import ConstantParamScheduler, LinearParamScheduler
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import (
    BaseLoop,
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    Runner,
    TestLoop,
    ValLoop,
)

from mmseg_encnet.errors import UserError
from mmseg_encnet.resuming.options import schedulers_in
from mmseg_encnet.values import brief

_EPOCHS = 'EpochBasedTrainLoop with train_dataloader.sampler.type=DefaultSampler'
_OTHER_LOOP = {'val': TestLoop, 'test': ValLoop}


def check_train_loop(loop: BaseLoop) -> None:
    """Check the length and the validation interval of a training loop, and that it has batches.

    Raises:
        UserError: The loop has no iteration, its data loader has no batch, or its validation
            interval is not a positive integer.
    """
    if isinstance(loop, EpochBasedTrainLoop):
        _check_positive('train_cfg.max_epochs', loop.max_epochs)
    elif isinstance(loop, IterBasedTrainLoop):
        _check_positive('train_cfg.max_iters', loop.max_iters)
    else:
        return
    _check_positive('train_cfg.val_interval', loop.val_interval)
    if isinstance(loop.val_begin, bool) or not isinstance(loop.val_begin, int):
        raise UserError(
            f'train_cfg.val_begin must be an integer, got {brief(loop.val_begin)}; correct it.'
        )
    for interval in loop.dynamic_intervals:
        _check_positive('each interval of train_cfg.dynamic_intervals', interval)
    loader = loop.dataloader
    if not isinstance(loader.sampler, InfiniteSampler) and len(loader) == 0:
        raise UserError(
            f'train_dataloader has no batch: got {len(loader.sampler)} images for '
            f'batch_size={loader.batch_size} with drop_last=True; reduce the batch size or set '
            'drop_last=False.'
        )


def check_evaluation_loop(loop: BaseLoop, split: str) -> None:
    """Check that a loop of ``val_cfg`` or ``test_cfg`` is of that kind and ends.

    Args:
        loop: The loop.
        split: ``'val'`` or ``'test'``.

    Raises:
        UserError: The loop is of the other kind, so the hooks of this kind would not run, or its
            sampler is endless.
    """
    if isinstance(loop, _OTHER_LOOP[split]):
        raise UserError(
            f'got {split}_cfg.type={type(loop).__name__}, which does not call the '
            f'hooks of {split.capitalize()}Loop; use {split.capitalize()}Loop.'
        )
    if isinstance(loop.dataloader.sampler, InfiniteSampler):
        raise UserError(
            f'{split}_dataloader has an InfiniteSampler, so an evaluation would never end; set '
            f'{split}_dataloader.sampler.type=DefaultSampler.'
        )


def check_schedule(runner: Runner) -> None:
    """Check that sampler, parameter schedulers and checkpoints fit the training loop.

    Raises:
        UserError: They do not; the message lists the entries to change.
    """
    loop = runner.train_loop
    for hook in _checkpoint_hooks(runner):
        for key in ('interval', 'max_keep_ckpts', 'save_begin'):
            value = getattr(hook, key)
            if isinstance(value, bool) or not isinstance(value, int):
                raise UserError(
                    f'{key} of {type(hook).__name__} must be an integer, got {brief(value)}; '
                    'correct it in default_hooks.checkpoint.'
                )
    if isinstance(loop, EpochBasedTrainLoop):
        # Its sampler must end, and it resumes only at the start of an epoch.
        changes = list(_changes_for_epochs(runner))
        reason = 'needs epochs that end, and checkpoints between them'
    elif isinstance(loop, IterBasedTrainLoop):
        changes = list(_changes_for_iterations(runner))
        reason = 'has no epochs at whose end a scheduler or checkpoint hook could act'
    else:
        return
    _warn_of_long_warm_up(runner)
    if changes:
        other = 'IterBasedTrainLoop' if isinstance(loop, EpochBasedTrainLoop) else _EPOCHS
        raise UserError(
            f'{type(loop).__name__} {reason}; set {" and ".join(changes)}, or use {other}.'
        )


def check_scheduler_ranges(schedulers: Any, loop: BaseLoop) -> None:
    """Check that every parameter scheduler begins before it ends, by default with training.

    Args:
        schedulers: The config of one or several schedulers.
        loop: The training loop.

    Raises:
        UserError: One does not, as after a warm-up that is longer than the run.
    """
    for index, cfg in enumerate(schedulers_in(schedulers)):
        if not isinstance(cfg, dict):
            continue
        by_epoch = cfg.get('by_epoch', True)
        length = loop.max_epochs if by_epoch else loop.max_iters
        begin, end = cfg.get('begin', 0), cfg.get('end', length)
        if isinstance(begin, int) and isinstance(end, int) and begin >= end:
            unit = 'epoch' if by_epoch else 'iteration'
            until = 'where training ends' if 'end' not in cfg else 'its end'
            raise UserError(
                f'param_scheduler.{index} ({cfg.get("type")}) begins at {unit} {begin}, expected '
                f'a value below {end}, {until}; shorten the warm-up before it, or train longer.'
            )


def _warn_of_long_warm_up(runner: Runner) -> None:
    """Warn of a warm-up that does not end before training does."""
    for index, scheduler in enumerate(schedulers_in(runner.param_schedulers)):
        start = getattr(scheduler, 'start_factor', getattr(scheduler, 'factor', 1))
        rises = isinstance(scheduler, (LinearParamScheduler, ConstantParamScheduler)) and (
            start < getattr(scheduler, 'end_factor', 1)
        )
        length = runner.max_epochs if scheduler.by_epoch else runner.max_iters
        if rises and scheduler.begin < length < scheduler.end < INF:
            unit = 'epoch' if scheduler.by_epoch else 'iteration'
            runner.logger.warning(
                f'param_scheduler.{index} ({type(scheduler).__name__}) warms up until {unit} '
                f'{scheduler.end}, but training ends at {length}: the {scheduler.param_name} never '
                'reaches its full value; shorten the warm-up or train longer.'
            )


def _changes_for_epochs(runner: Runner) -> Iterator[str]:
    if isinstance(runner.train_dataloader.sampler, InfiniteSampler):
        yield 'train_dataloader.sampler.type=DefaultSampler'
    if any(not hook.by_epoch for hook in _checkpoint_hooks(runner)):
        yield 'default_hooks.checkpoint.by_epoch=True'


def _changes_for_iterations(runner: Runner) -> Iterator[str]:
    for index, scheduler in enumerate(schedulers_in(runner.param_schedulers)):
        # Those that monitor a metric act after each validation.
        if getattr(scheduler, 'by_epoch', False) and not hasattr(scheduler, 'monitor'):
            yield f'param_scheduler.{index}.by_epoch=False'
    if any(hook.by_epoch for hook in _checkpoint_hooks(runner)):
        yield 'default_hooks.checkpoint.by_epoch=False'


def _checkpoint_hooks(runner: Runner) -> list[CheckpointHook]:
    return [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]


def _check_positive(name: str, value: Any) -> None:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or value < 1:
        raise UserError(f'{name} must be a positive integer, got {brief(value)}.')
