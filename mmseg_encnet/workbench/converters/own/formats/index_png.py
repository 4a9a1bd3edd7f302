"""Labels whose values are class indices, with or without a palette."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmseg_encnet.disk import shown
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.own.classes import IGNORED, MAX_CLASSES, ClassEntry
from mmseg_encnet.workbench.converters.own.formats.lookup import Lookup
from mmseg_encnet.workbench.converters.own.found import Source
from mmseg_encnet.workbench.converters.own.survey import Survey


def index_classes(survey: Survey, source: Source) -> tuple[list[ClassEntry], Lookup, list[str]]:
    """Return the classes of index labels, their look-up and notes.

    Without a table, the classes are numbered up to the largest value. They start with 1 if the
    smallest value is 1. The value 255 is ignored unless the table names it.

    Raises:
        UserError: A value is too large for a class index.
    """
    notes = []
    values = survey.keys[survey.keys != IGNORED]
    if source.table is not None:
        entries = _with_values(source, values, notes)
    else:
        entries = _numbered(survey, values)
        if entries[0].value == 1:
            notes.append('no label contains the value 0; the value 1 becomes class 0')
    entries = [
        replace(entry, colour=entry.colour or survey.palette.get(entry.value)) for entry in entries
    ]
    keys = [entry.value for entry in entries if entry.value is not None]
    names = [entry.name for entry in entries]
    positions = list(range(len(entries)))
    if IGNORED not in keys:
        keys, positions, names = [*keys, IGNORED], [*positions, IGNORED], [*names, 'ignored']
    reading = source.reading
    lookup = Lookup(False, tuple(keys), tuple(positions), tuple(names), 0, reading.ignore_unknown)
    return entries, lookup, notes


def _numbered(survey: Survey, values: np.ndarray) -> list[ClassEntry]:
    largest = int(values.max(initial=-1))
    if largest >= MAX_CLASSES and len(values) <= MAX_CLASSES // 4:
        return [ClassEntry(f'value {value}', int(value)) for value in values]
    if largest >= MAX_CLASSES:
        raise UserError(
            f'label {survey.example(largest)} contains the value {largest}, expected class indices '
            f'from 0 to {MAX_CLASSES - 1}; give a table of values with --colours FILE.'
        )
    first = int(largest >= 1 and values.min() == 1)
    return [ClassEntry(f'class {value}', value) for value in range(first, largest + 1)] or [
        ClassEntry('class 0', 0)
    ]


def _with_values(source: Source, values: np.ndarray, notes: list[str]) -> list[ClassEntry]:
    """Give the classes of a table without values those of their positions."""
    table: Sequence[ClassEntry] = source.table or ()
    if any(entry.value is not None for entry in table):
        missing = [entry.name for entry in table if entry.value is None]
        if missing:
            raise UserError(
                f'class table {source.table_path} has no value for {shown(missing[0])!r}; add it.'
            )
        return list(table)
    largest = int(values.max(initial=0))
    first = 0
    if largest == len(table) and (0 not in values or '0' in source.reading.ignore):
        first = 1
        notes.append(f'the {len(table)} names of {source.table_path} are for the values from 1')
    entries = [replace(entry, value=index) for index, entry in enumerate(table, first)]
    if first and 0 in values:
        entries.insert(0, ClassEntry('0', 0, None, True))
    return entries
