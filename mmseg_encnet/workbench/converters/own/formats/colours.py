"""Labels whose colours or grey levels are classes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from mmseg_encnet.disk import shown
from mmseg_encnet.errors import UserError, listed
from mmseg_encnet.workbench.converters.own.classes import (
    BACKGROUND,
    IGNORED,
    MAX_CLASSES,
    ClassEntry,
    Colour,
    hex_colour,
)
from mmseg_encnet.workbench.converters.own.formats.lookup import Lookup
from mmseg_encnet.workbench.converters.own.found import Source
from mmseg_encnet.workbench.converters.own.survey import (
    TRANSPARENT,
    Survey,
    colour_of,
    key_of,
    text_of,
)

# Pascal VOC's colour of the border around objects.
VOID = (224, 224, 192)
# Colours that differ by at most this in every channel are nearly one.
_NEARLY = 10
# Colours of regions have more inner pixels than this, those of smoothed edges fewer.
_SOLID = 0.2
_FEWEST_INNER, _SMALLEST_SHARE = 9, 2e-5
_SHOWN = 6


def colour_classes(
    survey: Survey, source: Source, void: Colour | None = None
) -> tuple[list[ClassEntry], Lookup, list[str]]:
    """Return the classes of coloured labels, their look-up and notes.

    Args:
        survey: The colours in the labels.
        source: The folder; without a table, every colour is a class.
        void: Colour that is ignored if no class has it.

    Raises:
        UserError: The table has no colours, or without a table the labels were smoothed.
    """
    reading = source.reading
    notes: list[str] = []
    if source.table is not None:
        entries = _of_table(survey, source)
    else:
        entries = _found(survey, reading.tolerance)
        notes += _nearly_one(survey, entries)
    keys = [key_of(entry.colour) for entry in entries if entry.colour is not None]
    positions = list(range(len(entries)))
    names = [entry.name for entry in entries]
    if void is not None and key_of(void) not in keys:
        keys, positions, names = [*keys, key_of(void)], [*positions, IGNORED], [*names, 'void']
    if survey.count(TRANSPARENT):
        names_of = [entry.is_background for entry in entries]
        if reading.background == 'ignore':
            position = IGNORED
        elif any(names_of):
            position = names_of.index(True)
        else:
            position = len(entries)
            entries = [*entries, ClassEntry(BACKGROUND)]
        keys, positions = [*keys, TRANSPARENT], [*positions, position]
        names.append('transparent')
    lookup = Lookup(
        True,
        tuple(keys),
        tuple(positions),
        tuple(names),
        reading.tolerance,
        reading.ignore_unknown,
    )
    if reading.tolerance:
        notes += _ambiguous(entries, reading.tolerance)
    return entries, lookup, notes


def solid(survey: Survey) -> np.ndarray:
    """Return which keys fill regions, ``(N,)`` bool, in contrast to those of smoothed edges."""
    return survey.inner >= _SOLID * survey.pixels


def is_smoothed(survey: Survey) -> bool:
    """Return whether most keys seem to be due to JPEG compression or smoothing."""
    filled = int(solid(survey).sum())
    return len(survey.keys) > 3 * filled + 8


def smoothed_error(survey: Survey, source: Source) -> UserError:
    """Return the error for labels whose classes cannot be told apart from smoothed edges."""
    share = survey.pixels / survey.pixels.sum()
    main = _merged(survey, _NEARLY)
    shares = dict(zip(survey.keys.tolist(), share.tolist()))
    shown = listed([f'{text_of(key)} ({shares[key]:.1%})' for key in main], _SHOWN)
    return UserError(
        f'the labels in {source.root} contain {len(survey.keys):,} colours, most of them only at '
        f'edges (JPEG, smoothing); main colours: {shown}; give them with --colours FILE and '
        '--tolerance N, or find them with --tolerance 40; --ignore-unknown ignores the rest.'
    )


def _of_table(survey: Survey, source: Source) -> list[ClassEntry]:
    entries = list(source.table or ())
    missing = [entry.name for entry in entries if entry.colour is None]
    if missing:
        order = np.argsort(-survey.pixels, kind='stable')[:20]
        found = ', '.join(text_of(int(survey.keys[index])) for index in order)
        raise UserError(
            f'class table {source.table_path} has no colour for {shown(missing[0])!r}, but the '
            f'labels are coloured; add the colours (the most frequent in the labels are {found}).'
        )
    return entries


def _found(survey: Survey, tolerance: int) -> list[ClassEntry]:
    if tolerance:
        keys = sorted(_merged(survey, min(tolerance, _NEARLY)))
    else:
        keys = [key for key in survey.keys.tolist() if key != TRANSPARENT]
    if len(keys) > MAX_CLASSES:
        raise UserError(
            f'the labels contain {len(keys):,} colours, expected at most {MAX_CLASSES} classes; '
            'give a table of the classes with --colours FILE or a larger --tolerance.'
        )
    return [ClassEntry(hex_colour(colour_of(key)), None, colour_of(key)) for key in keys]


def _merged(survey: Survey, tolerance: int) -> list[int]:
    """Return colours of regions that differ by more than the tolerance, most frequent first."""
    fewest = max(_FEWEST_INNER, _SMALLEST_SHARE * survey.pixels.sum())
    wanted = solid(survey) & (survey.inner >= fewest) & (survey.keys != TRANSPARENT)
    order = np.argsort(-survey.inner[wanted], kind='stable')
    keys = survey.keys[wanted][order]
    rgb = np.stack([keys >> shift & 255 for shift in (16, 8, 0)], axis=1)
    chosen: list[int] = []
    free = np.ones(len(keys), bool)
    while free.any():
        index = int(np.flatnonzero(free)[0])
        chosen.append(int(keys[index]))
        free &= np.abs(rgb - rgb[index]).max(axis=1) > tolerance
    return chosen


def _pairs(entries: list[ClassEntry]) -> Iterator[tuple[int, ClassEntry, ClassEntry]]:
    """Yield pairs of classes with colours, after the largest difference in a channel."""
    coloured = [entry for entry in entries if entry.colour is not None]
    for first, second in combinations(coloured, 2):
        yield max(abs(a - b) for a, b in zip(first.colour, second.colour)), first, second


def _nearly_one(survey: Survey, entries: list[ClassEntry]) -> list[str]:
    notes = []
    for difference, first, second in _pairs(entries):
        if difference > _NEARLY:
            continue
        rare, common = sorted(
            (first.colour, second.colour), key=lambda colour: survey.count(key_of(colour))
        )
        notes.append(
            f'colours {hex_colour(common)} ({survey.count(key_of(common)):,} pixels) and '
            f'{hex_colour(rare)} ({survey.count(key_of(rare)):,} pixels, such as in '
            f'{survey.example(key_of(rare))}) are nearly one, but become two classes; '
            f'--tolerance {difference} merges them'
        )
    return notes


def _ambiguous(entries: list[ClassEntry], tolerance: int) -> list[str]:
    nearest = min(_pairs(entries), key=lambda pair: pair[0], default=None)
    if nearest is None or nearest[0] > 2 * tolerance:
        return []
    difference, first, second = nearest
    return [
        f'the colours of {first.name!r} and {second.name!r} differ by {difference}, less than '
        f'twice the tolerance of {tolerance}; colours between them go to the nearer one'
    ]
