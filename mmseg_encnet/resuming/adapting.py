"""Continue a run from its checkpoint: unchanged, in other processes, or with accepted changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mmengine.dist import broadcast_object_list, get_world_size, is_main_process
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_encnet.checkpoints.plain_loading import load_from_local
from mmseg_encnet.errors import UserError, about
from mmseg_encnet.resuming.changes import Change, compare, refuse, version_change
from mmseg_encnet.resuming.options import schedulers_in
from mmseg_encnet.resuming.run_record import (
    RUN_RECORD,
    RunRecord,
    describe_run,
    from_plain,
    length_of,
)
from mmseg_encnet.resuming.training_state import (
    check_not_beyond,
    check_position,
    optimizer_changes,
    schedule_changes,
    usable_state,
)

# After such a change, the learning rate and the like are computed from the config.
_OF_OPTIMIZER = frozenset(
    (
        'batch_size',
        'length',
        'loop',
        'lr',
        'momentum',
        'optimizer',
        'paramwise',
        'precision',
        'schedule',
        'weight_decay',
    )
)


def divide_batch(runner: Runner) -> None:
    """Set the batch size per process so that a resumed run keeps its total batch.

    This is done if the config still has the batch size per process of the checkpoint or of its
    config, before the data loader is built.
    """
    loader = runner._train_dataloader
    path = Path(str(runner._load_from))
    if not isinstance(loader, Mapping) or not path.is_file() or 'batch_size' in accepted(runner):
        return
    checkpoint = load_from_local(path, map_location='cpu')
    if not isinstance(checkpoint, Mapping) or RUN_RECORD not in checkpoint:
        return
    with about(f'checkpoint {path}'):
        record = from_plain(checkpoint[RUN_RECORD])
    processes = get_world_size()
    if record is None or not record.batch_size:
        return
    total = record.batch_size * record.processes
    same = loader.get('batch_size') in (record.batch_size, record.config_batch_size)
    if same and total % processes == 0:
        loader['batch_size'] = total // processes


def accepted(runner: Runner) -> Collection[str]:
    """Return the kinds of changes with which the user continues a run."""
    return getattr(runner, 'accepted_changes', ())


def continue_run(runner: Runner, checkpoint: Any) -> RunRecord | None:
    """Check that a checkpoint continues the run, and apply changes that the user accepted.

    Args:
        runner: Runner, with built loops, optimiser and schedulers.
        checkpoint: Loaded checkpoint, changed in place where the run continues with changes.

    Returns:
        The record of the run as it is now; None in processes other than the main one.

    Raises:
        UserError: The checkpoint has no complete training state or is from a run that differs.
    """
    if not isinstance(checkpoint, dict):
        return None
    name = f'checkpoint {runner._load_from}'
    with about(name):
        check_position(runner, checkpoint)
        before = from_plain(checkpoint[RUN_RECORD]) if RUN_RECORD in checkpoint else None
        _check_against_record(checkpoint, before)
        now = _describe(runner)
        changes = _changes(runner, checkpoint, before, now)
        if not _only_shorter(changes, checkpoint, runner):
            refuse(changes, accepted(runner), length_of(runner.train_loop))
        _move_to_epoch(runner, checkpoint, changes)
        ended = check_not_beyond(runner, checkpoint)
    if before is None:
        runner.logger.warning(
            f'{name} has no record of its run, so it is unknown whether data, batch size and '
            'model are those of the run; only optimiser and schedule were compared.'
        )
    if ended:
        runner.logger.info(
            f'{name} is the end of its run: nothing is left to train; train longer with '
            '--extend-to N.'
        )
    if before is not None and now is not None:
        _tell(runner, name, before, now)
    # Checkpoints without a record may need what the user named.
    named = _OF_OPTIMIZER.intersection(accepted(runner))
    _apply(runner, checkpoint, {change.kind for change in changes} | named)
    return now


def _describe(runner: Runner) -> RunRecord | None:
    """Return the record of the run, in the main process only."""
    if not is_main_process():
        return None
    seed = (runner.cfg.get('randomness') or {}).get('seed')
    return describe_run(runner)._replace(seed=seed)


def _changes(
    runner: Runner,
    checkpoint: Mapping[str, Any],
    before: RunRecord | None,
    now: RunRecord | None,
) -> list[Change]:
    """Return all changes; every process gets those that the main process sees."""
    changes: list[Change] = []
    if is_main_process():
        recorded = [] if before is None or now is None else compare(before, now)
        changes = [*recorded, *_changes_of_averages(runner, checkpoint)]
        if before is None:
            changes += _changes_of_loop(runner, checkpoint)
        known = {change.kind for change in recorded}
        of_state = [*optimizer_changes(runner, checkpoint), *schedule_changes(runner, checkpoint)]
        if before is not None and known & _OF_OPTIMIZER:
            # They follow from what the record says, unless the state is missing.
            of_state = [
                change
                for change in of_state
                if change.kind == 'optimizer' and not known & {'optimizer', 'model'}
            ]
        changes += of_state
    shared = [changes]
    broadcast_object_list(shared)
    return shared[0]


def _changes_of_averages(runner: Runner, checkpoint: Mapping[str, Any]) -> list[Change]:
    averaging = any(isinstance(hook, EMAHook) for hook in runner.hooks)
    averaged = 'ema_state_dict' in checkpoint
    if averaging == averaged:
        return []
    text = 'it holds the weights' if averaged else 'it lacks the averaged weights'
    return [Change('ema', f'{text} of an EMAHook{", which the config lacks" * averaged}')]


def _only_shorter(changes: list[Change], checkpoint: Mapping[str, Any], runner: Runner) -> bool:
    """Return whether training is only shorter than what was done, which has its own message."""
    loop = runner.train_loop
    done = checkpoint['meta']['epoch' if isinstance(loop, EpochBasedTrainLoop) else 'iter']
    return done > length_of(loop) and all(change.kind == 'length' for change in changes)


def _changes_of_loop(runner: Runner, checkpoint: Mapping[str, Any]) -> list[Change]:
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    meta = checkpoint['meta']
    if not meta['iter'] or by_epoch == bool(meta['epoch']):
        return []
    units = ('iterations', 'epochs') if by_epoch else ('epochs', 'iterations')
    return [Change('loop', f'training by {units[0]} changed to training by {units[1]}')]


def _check_against_record(checkpoint: Mapping[str, Any], before: RunRecord | None) -> None:
    """Refuse a checkpoint that is beyond the end of its own run."""
    if before is None:
        return
    by_epoch = before.length_name == 'max_epochs'
    done = checkpoint['meta']['epoch' if by_epoch else 'iter']
    if done > before.length:
        raise UserError(
            f'has {done} {"epochs" if by_epoch else "iterations"}, but its run had '
            f'{before.length}; use an earlier checkpoint of the same run.'
        )


def _move_to_epoch(runner: Runner, checkpoint: Mapping[str, Any], changes: list[Change]) -> None:
    """Count iterations by the epochs of the run, if their length or the kind of loop changed."""
    loop, meta = runner.train_loop, checkpoint['meta']
    if not changes:
        return
    if not isinstance(loop, EpochBasedTrainLoop):
        meta['epoch'] = 0
        return
    if not meta['epoch']:
        meta['epoch'] = meta['iter'] // len(loop.dataloader)
    meta['iter'] = meta['epoch'] * len(loop.dataloader)


def _tell(runner: Runner, name: str, before: RunRecord, now: RunRecord) -> None:
    warning = version_change(before, now)
    if warning:
        runner.logger.warning(f'{name}: {warning}')
    if before.processes == now.processes or not (before.batch_size and now.batch_size):
        return
    runner.logger.info(
        f'The run continues in {now.processes} process{"es" * (now.processes > 1)} with '
        f'{now.batch_size} images each instead of {before.processes} with {before.batch_size}: the '
        'same samples in the same batches.'
    )
    norms = any(
        isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm)
        for module in runner.model.modules()
    )
    if norms and before.batch_size != now.batch_size:
        runner.logger.warning(
            f'Batch norm without synchronisation normalises over {now.batch_size} instead of '
            f'{before.batch_size} images, so the result will differ.'
        )


def _apply(runner: Runner, checkpoint: dict[str, Any], kinds: Collection[str]) -> None:
    """Change the state in a checkpoint so that the run continues with changes."""
    if 'seed' in kinds:
        checkpoint['meta']['seed'] = runner.seed
    if 'ema' in kinds and not any(isinstance(hook, EMAHook) for hook in runner.hooks):
        _use_trained_weights(checkpoint)
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    if _OF_OPTIMIZER & set(kinds) or (by_epoch and 'data' in kinds):
        _recompute_optimizer(runner, checkpoint)


def _use_trained_weights(checkpoint: dict[str, Any]) -> None:
    """Exchange the averages of an ``EMAHook`` for the weights that are trained."""
    for key, value in (checkpoint.get('ema_state_dict') or {}).items():
        name = key.removeprefix('module.')
        if name != key and name in checkpoint['state_dict']:
            checkpoint['state_dict'][name] = value


def _recompute_optimizer(runner: Runner, checkpoint: dict[str, Any]) -> None:
    """Give the optimiser the settings that a run of this config has at this position.

    What it has accumulated, such as momentum, is kept where it fits.
    """
    wrapper = runner.optim_wrapper
    schedulers = list(schedulers_in(runner.param_schedulers))
    if not isinstance(wrapper, OptimWrapper) or not hasattr(wrapper, 'optimizer'):
        raise UserError(
            'a run with several optimisers cannot continue with changes; undo the changes, or '
            'start a new run with load_from.'
        )
    meta = checkpoint['meta']
    if any(hasattr(scheduler, 'monitor') for scheduler in schedulers):
        _scale(wrapper.optimizer.param_groups, checkpoint)
    else:
        _replay(runner, schedulers, meta['iter'], meta['epoch'])
        _check_rate(runner, meta)
        if 'param_schedulers' in checkpoint or schedulers:
            checkpoint['param_schedulers'] = _states(runner)
    state = wrapper.state_dict()
    if usable_state(runner, checkpoint):
        state['state'] = checkpoint['optimizer']['state']
        if 'loss_scaler' in checkpoint['optimizer'] and 'loss_scaler' in state:
            state['loss_scaler'] = checkpoint['optimizer']['loss_scaler']
    checkpoint['optimizer'] = state


def _states(runner: Runner) -> Any:
    schedulers = runner.param_schedulers
    if isinstance(schedulers, Mapping):
        return {
            name: [scheduler.state_dict() for scheduler in group]
            for name, group in schedulers.items()
        }
    return [scheduler.state_dict() for scheduler in schedulers_in(schedulers)]


def _replay(runner: Runner, schedulers: list[Any], iterations: int, epochs: int) -> None:
    """Step new schedulers to a position of the training loop.

    Groups of parameters with equal settings are computed once.
    """
    if not schedulers:
        return
    groups = runner.optim_wrapper.param_groups
    settings = [
        tuple(sorted((key, repr(value)) for key, value in group.items() if key != 'params'))
        for group in groups
    ]
    first = {setting: index for index, setting in reversed(list(enumerate(settings)))}
    chosen = sorted(first.values())
    unique = SimpleNamespace(
        param_groups=[{k: v for k, v in groups[i].items() if k != 'params'} for i in chosen],
        step=lambda: None,
        _global_step=0,
    )
    # Schedulers check that the optimiser steps first.
    unique.step._with_counter = True
    base_values = [scheduler.base_values for scheduler in schedulers]
    optimizers = [scheduler.optimizer for scheduler in schedulers]
    for scheduler in schedulers:
        scheduler.base_values = [scheduler.base_values[index] for index in chosen]
        scheduler.optimizer = unique
    by_iteration = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
    by_epoch = [scheduler for scheduler in schedulers if scheduler.by_epoch]
    per_epoch = iterations // epochs if epochs else 0
    for iteration in range(1, iterations + 1):
        for scheduler in by_iteration:
            scheduler.step()
        if per_epoch and iteration % per_epoch == 0:
            for scheduler in by_epoch:
                scheduler.step()
    place = [chosen.index(first[setting]) for setting in settings]
    for group, index in zip(groups, place):
        group.update(unique.param_groups[index])
    for scheduler, values, optimizer in zip(schedulers, base_values, optimizers):
        scheduler.base_values, scheduler.optimizer = values, optimizer
        scheduler._last_value = [scheduler._last_value[index] for index in place]


def _scale(groups: list[dict[str, Any]], checkpoint: Mapping[str, Any]) -> None:
    """Set the rates of groups whose schedule depends on a metric: those of the checkpoint, scaled.

    The schedulers continue from their own state.
    """
    before = checkpoint.get('optimizer', {}).get('param_groups', [])
    for group, former in zip(groups, before):
        base = former.get('initial_lr')
        if base:
            group['lr'] = former['lr'] * group['initial_lr'] / base


def _check_rate(runner: Runner, meta: Mapping[str, Any]) -> None:
    """Refuse a schedule that ends before training does."""
    loop = runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    done = meta['epoch' if by_epoch else 'iter']
    # The toolbox's schedules reach their end one step early.
    ended = done + 1 >= length_of(loop)
    groups = runner.optim_wrapper.param_groups
    if not ended and done and not any(group['lr'] for group in groups):
        raise UserError(
            f'the learning rate is 0 from {"epoch" if by_epoch else "iteration"} {done} on; set '
            'the end of each entry of param_scheduler to the new length, or leave it out.'
        )
