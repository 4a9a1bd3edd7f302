"""Check the training state in a checkpoint before a run continues from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor

from mmseg_encnet.configuration.kinds import ENDS, LENGTH
from mmseg_encnet.errors import UserError
from mmseg_encnet.resuming.changes import Change, shown
from mmseg_encnet.resuming.options import schedulers_in

_INCOMPLETE = 'to start a new run from its weights, set load_from without --resume'
_DAMAGED = 'use an earlier checkpoint of the same run'
# Settings of an optimiser, by the kind of change.
_HYPERPARAMETERS = {
    'lr': 'lr',
    'momentum': 'momentum',
    'weight_decay': 'weight_decay',
    **dict.fromkeys(('betas', 'dampening', 'nesterov', 'eps', 'alpha', 'amsgrad'), 'optimizer'),
}
# What changes in a scheduler during training, and what its optimiser determines.
_VARIABLE = frozenset(
    (
        'base_values',
        'best',
        'cooldown_counter',
        'last_step',
        'min_values',
        'num_bad_epochs',
        'verbose',
    )
)


def check_position(runner: Runner, checkpoint: Mapping[str, Any]) -> None:
    """Check that a checkpoint says where its run was.

    Raises:
        UserError: It does not, or that position is impossible.
    """
    for key in ('meta', 'message_hub'):
        if not isinstance(checkpoint.get(key), Mapping):
            raise UserError(f'cannot be resumed, because it has no {key!r}; {_INCOMPLETE}.')
    meta = checkpoint['meta']
    for key in ('iter', 'epoch'):
        if key not in meta:
            raise UserError(f"cannot be resumed, because its 'meta' has no {key!r}; {_INCOMPLETE}.")
        value = meta[key]
        if type(value) is not int or value < 0:
            raise UserError(
                f'is damaged: meta.{key} is {shown(value)}, expected a non-negative integer; '
                f'{_DAMAGED}.'
            )
    for index, state in enumerate(_scheduler_states(checkpoint)):
        by_epoch, step = state.get('by_epoch'), state.get('_global_step')
        if not isinstance(by_epoch, bool) or type(step) is not int or 'monitor' in state:
            continue
        key = 'epoch' if by_epoch else 'iter'
        if abs(step - meta[key]) > 1:
            raise UserError(
                f'is damaged: meta.{key} is {meta[key]}, but its param_schedulers[{index}] is at '
                f'{step}; {_DAMAGED}.'
            )


def check_not_beyond(runner: Runner, checkpoint: Mapping[str, Any]) -> bool:
    """Check that a checkpoint is not beyond the length of training.

    Returns:
        Whether it is the end of training.

    Raises:
        UserError: It is beyond the end.
    """
    loop = runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    name, key = ('max_epochs', 'epoch') if by_epoch else ('max_iters', 'iter')
    length, done = getattr(loop, name), checkpoint['meta'][key]
    if done > length:
        unit = 'epochs' if by_epoch else 'iterations'
        raise UserError(
            f'has {done} {unit}, but train_cfg.{name} is {length}, so nothing is left to train; '
            f'train longer with --extend-to N, where N is above {done}.'
        )
    return done == length


def optimizer_changes(runner: Runner, checkpoint: Mapping[str, Any]) -> Iterator[Change]:
    """Yield how the optimiser in a checkpoint differs from the one of the run."""
    fresh = runner.optim_wrapper.state_dict()
    state = checkpoint.get('optimizer')
    if state is None:
        yield Change('optimizer', 'it has no optimiser state')
        return
    if not isinstance(runner.optim_wrapper, OptimWrapper) or 'param_groups' not in fresh:
        return
    groups = state.get('param_groups') if isinstance(state, Mapping) else None
    if not isinstance(groups, list) or not all(_is_group(group) for group in groups):
        raise UserError(f"is damaged: its 'optimizer' has no groups of parameters; {_DAMAGED}.")
    if not usable_state(runner, checkpoint):
        then, now = _sizes(groups), _sizes(fresh['param_groups'])
        if _settings(groups) != _settings(fresh['param_groups']):
            then, now = _settings(groups), _settings(fresh['param_groups'])
            yield Change(
                'optimizer', f'the optimiser changed from one with {then} to one with {now}'
            )
        elif then != now:
            yield Change('optimizer', f'the optimiser changed from {then} to {now}')
        else:
            yield Change('optimizer', 'its optimiser has no state for some parameters')
        return
    yield from _hyperparameter_changes(groups, fresh['param_groups'])


def usable_state(runner: Runner, checkpoint: Mapping[str, Any]) -> bool:
    """Return whether the optimiser of the run can continue with the state in a checkpoint."""
    state = checkpoint.get('optimizer')
    groups = state.get('param_groups') if isinstance(state, Mapping) else None
    if not isinstance(groups, list) or not all(_is_group(group) for group in groups):
        return False
    own = runner.optim_wrapper.optimizer.param_groups
    parameters = [parameter for group in own for parameter in group['params']]
    kept = state.get('state')
    if not isinstance(kept, Mapping) or _settings(groups) != _settings(own):
        return False
    if sum(len(group['params']) for group in groups) != len(parameters):
        return False
    if not kept:
        # Plain SGD has none, and nothing has one before the first step.
        has_none = not any(group.get('momentum') or 'betas' in group for group in own)
        return has_none or checkpoint['meta']['iter'] < _accumulated(runner)
    for index, entries in kept.items():
        if type(index) is not int or not 0 <= index < len(parameters):
            return False
        for value in entries.values() if isinstance(entries, Mapping) else ():
            shape = value.shape if isinstance(value, Tensor) else ()
            if shape not in ((), parameters[index].shape):
                return False
    return True


def schedule_changes(runner: Runner, checkpoint: Mapping[str, Any]) -> Iterator[Change]:
    """Yield how the schedulers in a checkpoint differ from those of the run."""
    states = list(_scheduler_states(checkpoint))
    fresh = [scheduler.state_dict() for scheduler in schedulers_in(runner.param_schedulers)]
    if len(states) != len(fresh):
        count = f'{len(states) or "no"} state{"s" * (len(states) != 1)}'
        yield Change(
            'schedule', f'it has {count} for the {len(fresh)} schedulers of param_scheduler'
        )
        return
    loop = runner.train_loop
    for index, (state, own) in enumerate(zip(states, fresh)):
        keys = {key for key in own if not key.startswith('_')}
        if not keys <= state.keys():
            yield Change('schedule', f'param_scheduler.{index} is another scheduler')
            continue
        length = loop.max_epochs if own['by_epoch'] else loop.max_iters
        extended = own.get('end') == length != state['end']
        for key in sorted(keys - _VARIABLE):
            before, now = state[key], own[key]
            if before == now or not isinstance(now, (bool, int, float, str)):
                continue
            kind = LENGTH if extended and key in (*ENDS, 'total_iters') else 'schedule'
            if key != 'total_iters':
                yield Change(
                    kind,
                    f'param_scheduler.{index}.{key} changed from {shown(before)} to {shown(now)}',
                )


def _scheduler_states(checkpoint: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    states = checkpoint.get('param_schedulers')
    if isinstance(states, Mapping):
        states = [state for group in states.values() for state in group]
    if not isinstance(states, (list, type(None))) or not all(
        isinstance(state, Mapping) for state in states or ()
    ):
        raise UserError(f"is damaged: its 'param_schedulers' are no states; {_DAMAGED}.")
    yield from states or ()


def _is_group(group: Any) -> bool:
    return isinstance(group, Mapping) and isinstance(group.get('params'), list)


def _sizes(groups: list[Any]) -> str:
    parameters = sum(len(group['params']) for group in groups)
    return f'{parameters} parameters'


def _settings(groups: list[Any]) -> str:
    """Return the names of the settings by which optimisers differ."""
    return ', '.join(sorted({key for group in groups for key in group} & _HYPERPARAMETERS.keys()))


def _hyperparameter_changes(before: list[Any], now: list[Any]) -> Iterator[Change]:
    """Yield the settings that differ between the first groups that do."""
    if len(before) != len(now):
        yield Change(
            'paramwise', f'the groups of parameters changed from {len(before)} to {len(now)}'
        )
        return
    found = set()
    for then, since in zip(before, now):
        for key, kind in _HYPERPARAMETERS.items():
            # Schedulers change the setting itself.
            name = f'initial_{key}' if f'initial_{key}' in since else key
            former, value = then.get(name, then.get(key)), since.get(name)
            if key in since and former != value and key not in found:
                found.add(key)
                yield Change(
                    kind,
                    f'the {key} of the optimiser changed from {shown(former)} to {shown(value)}',
                )


def _accumulated(runner: Runner) -> int:
    return getattr(runner.optim_wrapper, '_accumulative_counts', 1)
