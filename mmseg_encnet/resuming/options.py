"""Change the config of a run that continues, as the options of ``tools/train.py`` say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from mmseg_encnet.configuration.kinds import ENDS, EXTEND, LENGTH, OVERRIDE
from mmseg_encnet.configuration.resume_options import Overrides
from mmseg_encnet.errors import UserError


def change_run(
    cfg: Config, overrides: Overrides, length: int | None, resumes: bool
) -> frozenset[str]:
    """Change the config of a run that resumes.

    Args:
        cfg: Config, changed in place.
        overrides: The parsed ``--override``, whose entries the config has already.
        length: The value of ``--extend-to``.
        resumes: The value of ``--resume``.

    Returns:
        The kinds of changes with which the run resumes.

    Raises:
        UserError: There are changes, but the run does not resume.
    """
    kinds = overrides.kinds
    if length is not None:
        _extend_training(cfg, length)
        kinds |= {LENGTH}
    if kinds and not resumes and not cfg.get('resume'):
        given = OVERRIDE if length is None else EXTEND
        raise UserError(f'got {given} without --resume; add --resume to continue a run.')
    return kinds


def _extend_training(cfg: Config, length: int) -> None:
    """Set ``max_iters`` or ``max_epochs``, and the ends of schedulers that end with training."""
    loop = cfg.train_cfg
    name = 'max_epochs' if 'max_epochs' in loop else 'max_iters'
    former = loop.get(name)
    loop[name] = length
    for scheduler in schedulers_in(cfg.get('param_scheduler')):
        by_epoch = scheduler.get('by_epoch', True)
        if by_epoch != (name == 'max_epochs'):
            continue
        begin = scheduler.get('begin', 0)
        for key in ENDS:
            if scheduler.get(key) == former:
                scheduler[key] = length
            elif key != 'end' and key in scheduler and scheduler[key] == former - begin:
                scheduler[key] = length - begin


def schedulers_in(value: Any) -> Iterator[Any]:
    """Yield the schedulers in ``param_scheduler`` of a config, or in what is built from it.

    It is a scheduler, a list of them, or a dictionary of either by the name of an optimiser.
    """
    if isinstance(value, Mapping) and 'type' not in value:
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from schedulers_in(part)
    elif value is not None:
        yield value
