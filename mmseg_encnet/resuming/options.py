"""The options of ``tools/train.py`` that continue a run with changes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from mmengine.config import Config, DictAction

from mmseg_encnet.errors import UserError
from mmseg_encnet.resuming.kinds import ENDS, EXTEND, KINDS, LENGTH, OVERRIDE


class Overrides(NamedTuple):
    """What ``--override`` accepts and sets.

    Attributes:
        kinds: Names of :data:`~mmseg_encnet.resuming.kinds.KINDS`.
        entries: Config entries to set, by dotted key.
    """

    kinds: frozenset[str] = frozenset()
    entries: Mapping[str, Any] = MappingProxyType({})


class _OverrideAction(argparse.Action):
    """Add the values of one ``--override`` to those before it."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        before, more = getattr(namespace, self.dest), parse_overrides(values)
        both = Overrides(before.kinds | more.kinds, {**before.entries, **more.entries})
        setattr(namespace, self.dest, both)


def add_resume_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that continue a run."""
    parser.add_argument(
        '--resume', action='store_true', help='continue from the last checkpoint in the work dir'
    )
    parser.add_argument(
        EXTEND,
        type=_positive,
        metavar='N',
        help='with --resume, train for N iterations (or epochs) in all; the learning rate '
        'continues as in a run of that length',
    )
    parser.add_argument(
        OVERRIDE,
        nargs='+',
        action=_OverrideAction,
        default=Overrides(),
        metavar='NAME[=VALUE]',
        help='with --resume, continue although NAME has changed, and set its config entry if a '
        f'VALUE is given, e.g. lr=0.001 data pipeline.RandomFlip.prob=0; NAME is one of '
        f'{", ".join(KINDS)}',
    )


def parse_overrides(values: Sequence[str]) -> Overrides:
    """Parse the values of ``--override``: ``NAME``, ``NAME=VALUE`` or ``NAME.KEY=VALUE``.

    Raises:
        UserError: A name is unknown or cannot be set in this way.
    """
    kinds, entries = set(), {}
    for value in values:
        key, equals, text = value.partition('=')
        name, dot, inside = key.partition('.')
        if name == LENGTH or name in ('max_iters', 'max_epochs'):
            raise UserError(f'got {OVERRIDE} {value}; use {EXTEND} N to change the length.')
        if name not in KINDS:
            raise UserError(f'unknown name {name!r} in {OVERRIDE}; choose from {", ".join(KINDS)}.')
        kind = KINDS[name]
        usage = name
        if kind.entry is not None:
            usage += f' or {name}.KEY=VALUE' if kind.inside else f' or {name}=VALUE'
        expected = kind.entry is not None and bool(inside) == kind.inside
        if (equals or dot) and not (expected and equals and text):
            raise UserError(f'got {OVERRIDE} {value}, expected {usage}.')
        kinds.add(name)
        if equals:
            entry = f'{kind.entry}.{inside}' if inside else str(kind.entry)
            try:
                entries[entry] = DictAction._parse_iterable(text)
            except (AssertionError, RecursionError):
                raise UserError(
                    f'got {OVERRIDE} {value}, expected a number, a string or a list with matching '
                    'brackets.'
                ) from None
    return Overrides(frozenset(kinds), entries)


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


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'must be positive, got {text}')
    return value
