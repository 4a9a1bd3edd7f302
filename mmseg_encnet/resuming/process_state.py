"""The state of each process in a checkpoint, in addition to the shared model and optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmseg_encnet.errors import UserError, type_and_first_line
from mmseg_encnet.models.parts import unwrapped
from mmseg_encnet.resuming.random_states import capture_states, restore_states


def capture_process(runner: Runner) -> dict[str, Any]:
    """Return the state of this process: random states, accumulated gradients, thread count."""
    return dict(
        random=capture_states(),
        gradients=_pending_gradients(runner),
        threads=torch.get_num_threads(),
    )


def restore_process(runner: Runner, state: dict[str, Any]) -> None:
    """Restore what :func:`capture_process` returned.

    Raises:
        UserError: The random states are not those of this version of Python, numpy and PyTorch.
    """
    try:
        if state['random'] is not None:
            restore_states(state['random'])
    except (
        AttributeError,
        LookupError,
        OverflowError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise UserError(
            f'checkpoint {runner._load_from} has random states that cannot be restored '
            f'({type_and_first_line(error)}); resume from an earlier checkpoint.'
        ) from error
    for name, parameter in unwrapped(runner.model).named_parameters():
        gradient = state['gradients'].get(name)
        if gradient is not None:
            parameter.grad = gradient.to(parameter.device)


def state_of_process(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the state of this process from those of all processes of a run.

    In another number of processes, each gets the average of the accumulated gradients, and random
    states as far as there are any.
    """
    rank, processes = get_rank(), get_world_size()
    if len(states) == processes:
        return states[rank]
    names = {name for state in states for name in state['gradients']}
    gradients = {
        name: sum(state['gradients'][name] for state in states if name in state['gradients'])
        / len(states)
        for name in names
    }
    random = states[rank]['random'] if rank < len(states) else None
    return dict(random=random, gradients=gradients, threads=states[0].get('threads'))


def warn_of_other_threads(runner: Runner, state: dict[str, Any]) -> None:
    """Warn if a run on the CPU resumes with another number of threads.

    The order of summation in PyTorch's convolutions depends on it. Checkpoints of older versions do
    not record the number.
    """
    before, now = state.get('threads'), torch.get_num_threads()
    on_cpu = next(runner.model.parameters()).device.type == 'cpu'
    if on_cpu and before is not None and before != now:
        runner.logger.warning(
            f'The checkpoint was written with {before} thread{"s" * (before > 1)} per process and '
            f'the run resumes with {now}, so its result will differ by rounding errors; set '
            f'OMP_NUM_THREADS={before} to resume exactly.'
        )


def _pending_gradients(runner: Runner) -> dict[str, Any]:
    """Return gradients that were accumulated and not yet applied, by parameter."""
    optim_wrapper = runner.optim_wrapper
    if not isinstance(optim_wrapper, OptimWrapper) or optim_wrapper.should_update():
        return {}
    return {
        name: parameter.grad.cpu()
        for name, parameter in unwrapped(runner.model).named_parameters()
        if parameter.grad is not None
    }
