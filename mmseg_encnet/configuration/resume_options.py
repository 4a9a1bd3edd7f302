"""The options of ``tools/train.py`` that continue a run with changes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from mmengine.config import DictAction

from mmseg_encnet.configuration.kinds import EXTEND, KINDS, LENGTH, OVERRIDE
from mmseg_encnet.errors import UserError


class Overrides(NamedTuple):
    """What ``--override`` accepts and sets.

    Attributes:
        kinds: Names of :data:`~mmseg_encnet.configuration.kinds.KINDS`.
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


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'must be positive, got {text}')
    return value
