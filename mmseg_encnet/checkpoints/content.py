"""Check the plain data in a checkpoint beside the weights, which anybody may have written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from torch import Tensor

from mmseg_encnet.checkpoints.fit import UnfitWeightsError
from mmseg_encnet.errors import UserError
from mmseg_encnet.values import brief, integer, mapping, number, sequence, text

_ADVICE = 'use a checkpoint written by a training run.'
# State of an optimiser with one value per parameter.
_SCHEDULER_STEPS = ('last_step', '_global_step', 'begin', 'end', 'total_iters', 'T_max')
_SCHEDULER_FACTORS = ('start_factor', 'end_factor', 'factor', 'power', 'eta_min', 'gamma')
_PER_PARAMETER = ('momentum_buffer', 'exp_avg', 'exp_avg_sq', 'max_exp_avg_sq')


def dataset_meta(content: Any) -> dict[str, Any]:
    """Return names and colours of the classes from a loaded checkpoint, as lists.

    Returns:
        ``classes`` and ``palette``; each is missing if the checkpoint does not have it.

    Raises:
        UnfitWeightsError: An entry has another type; the message starts with a verb.
    """
    try:
        meta = mapping(_entry(content, 'meta'), 'meta')
        given = mapping(_entry(meta, 'dataset_meta'), 'meta.dataset_meta')
        found: dict[str, Any] = {}
        if given.get('classes') is not None:
            names = sequence(given['classes'], 'meta.dataset_meta.classes')
            found['classes'] = [text(name, 'the name of a class') for name in names]
        if given.get('palette') is not None:
            colours = sequence(given['palette'], 'meta.dataset_meta.palette')
            found['palette'] = [
                [
                    integer(value, 'a colour', 0, 255)
                    for value in sequence(colour, 'a colour of meta.dataset_meta.palette', 3)
                ]
                for colour in colours
            ]
    except UserError as error:
        raise UnfitWeightsError(f'{error}; {_ADVICE}') from error
    return found


def check_training_state(content: Any) -> None:
    """Check the types of what resuming reads from a loaded checkpoint.

    Whether the state belongs to the model and the run is not checked here.

    Raises:
        UnfitWeightsError: An entry has another type; the message starts with a verb.
    """
    if not {'epoch', 'iter', 'optimizer'} & _state_keys(content):
        raise UnfitWeightsError(
            'contains weights, but no state from which a training resumes; start a training from '
            'them with load_from and without resume.'
        )
    try:
        content = mapping(content, 'its content')
        meta = mapping(content.get('meta'), 'meta')
        for key in ('epoch', 'iter'):
            # Its range is checked against the run.
            integer(meta.get(key), f'meta.{key}', low=-(2**53))
        if meta.get('seed') is not None:
            integer(meta['seed'], 'meta.seed', high=2**64)
        if content.get('message_hub') is not None:
            _check_message_hub(content['message_hub'])
        if content.get('optimizer') is not None:
            _check_optimizers(mapping(content['optimizer'], 'optimizer'))
        if content.get('param_schedulers') is not None:
            _check_schedulers(content['param_schedulers'])
        if content.get('process_states') is not None:
            for state in sequence(content['process_states'], 'process_states'):
                _check_process_state(state)
        if 'ema_state_dict' in content:
            mapping(content['ema_state_dict'], 'ema_state_dict')
    except UserError as error:
        raise UnfitWeightsError(f'{error}; {_ADVICE}') from error


def _state_keys(content: Any) -> set[Any]:
    """Return the keys of a checkpoint and of its entry ``meta``."""
    if not isinstance(content, Mapping):
        return set()
    meta = content.get('meta')
    return {*content, *(meta if isinstance(meta, Mapping) else ())}


def check_optimizer_shapes(optimizer: Any) -> None:
    """Check that the state of a resumed optimiser has the shapes of its parameters.

    Raises:
        UnfitWeightsError: It does not; the message starts with a verb.
    """
    for parameter, state in optimizer.state.items():
        for key in _PER_PARAMETER:
            value = state.get(key)
            if value is not None and value.shape != parameter.shape:
                raise UnfitWeightsError(
                    f'has {key} of shape {tuple(value.shape)} in optimizer, expected '
                    f'{tuple(parameter.shape)} as its parameter; use a checkpoint of this config.'
                )


def _entry(content: Any, key: str) -> Any:
    value = content.get(key) if isinstance(content, Mapping) else None
    return {} if value is None else value


def _check_message_hub(hub: Any) -> None:
    hub = mapping(hub, 'message_hub')
    for key in ('log_scalars', 'runtime_info', 'resumed_keys'):
        mapping(hub.get(key), f'message_hub.{key}')
    for name, history in hub['log_scalars'].items():
        text(name, 'a name in message_hub.log_scalars')
        if isinstance(history, HistoryBuffer):
            values, counts = history.data
            if values.shape != counts.shape or values.ndim != 1 or values.dtype.kind not in 'biuf':
                raise UserError(
                    f'has message_hub.log_scalars.{brief(name)} of shape {values.shape} and type '
                    f'{values.dtype}, expected a list of numbers'
                )
    for name in (*hub['runtime_info'], *hub['resumed_keys']):
        text(name, 'a name in message_hub')


def _check_optimizers(state: Mapping[Any, Any]) -> None:
    """Check the state of one optimiser, or of several by name."""
    if 'param_groups' not in state and 'state' not in state:
        for name, part in state.items():
            if name != 'base_param_settings' and isinstance(part, Mapping):
                _check_optimizer(part)
            elif name != 'base_param_settings':
                raise UserError(
                    f'has {brief(part)} as optimizer.{brief(name)}, expected the state of an '
                    'optimiser'
                )
        return
    _check_optimizer(state)


def _check_optimizer(state: Mapping[Any, Any]) -> None:
    for index, group in enumerate(sequence(state.get('param_groups'), 'optimizer.param_groups')):
        group = mapping(group, f'optimizer.param_groups.{index}')
        number(group.get('lr'), f'lr of optimizer.param_groups.{index}')
        for parameter in sequence(group.get('params'), f'optimizer.param_groups.{index}.params'):
            integer(parameter, 'a parameter of optimizer.param_groups')
    for index, values in mapping(state.get('state'), 'optimizer.state').items():
        for key, value in mapping(values, 'an entry of optimizer.state').items():
            if key in _PER_PARAMETER and value is None:
                continue
            if key in _PER_PARAMETER and not isinstance(value, Tensor):
                raise UserError(
                    f'has {brief(value)} as optimizer.state.{brief(index)}.{key}, expected a tensor'
                )


def _check_schedulers(state: Any) -> None:
    """Check the states of a list of schedulers, or of lists by the name of an optimiser."""
    lists = state.values() if isinstance(state, Mapping) else [state]
    for schedulers in lists:
        for index, scheduler in enumerate(sequence(schedulers, 'param_schedulers')):
            name = f'param_schedulers.{index}'
            for key, value in mapping(scheduler, name).items():
                text(key, f'a name in {name}')
                # The toolbox copies every entry, even over methods of the scheduler.
                if key == 'optimizer' or hasattr(_ParamScheduler, key):
                    raise UserError(f'has {brief(key)} in {name}, expected numbers and strings')
                if key in _SCHEDULER_STEPS:
                    integer(value, f'{key} of {name}', low=-(2**53), high=2**63)
                elif key in _SCHEDULER_FACTORS:
                    number(value, f'{key} of {name}')


def _check_process_state(state: Any) -> None:
    state = mapping(state, 'an entry of process_states')
    mapping(state.get('random'), 'random of an entry of process_states')
    gradients = mapping(state.get('gradients'), 'gradients of an entry of process_states')
    for name, gradient in gradients.items():
        if not isinstance(gradient, Tensor):
            raise UserError(f'has {brief(gradient)} as the gradient of {brief(name)}')
    if state.get('threads') is not None:
        integer(state['threads'], 'threads of an entry of process_states', low=1)
