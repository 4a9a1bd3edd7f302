"""Label images: pairs of files, and whether values, colours or masks are the classes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.own.classes import IGNORED, Colour
from mmseg_encnet.workbench.converters.own.formats import lookup, masks
from mmseg_encnet.workbench.converters.own.formats.colours import (
    colour_classes,
    is_smoothed,
    smoothed_error,
    solid,
)
from mmseg_encnet.workbench.converters.own.formats.index_png import index_classes
from mmseg_encnet.workbench.converters.own.found import Example, FoundData, Source
from mmseg_encnet.workbench.converters.own.pairing import Pairing, pair_images
from mmseg_encnet.workbench.converters.own.problems import UnusableData, map_files
from mmseg_encnet.workbench.converters.own.survey import (
    FileSurvey,
    Survey,
    combine,
    key_of,
    survey_file,
)

# Smallest value and smallest step of grey levels; class indices are smaller and closer.
_SMALLEST_LEVEL, _SMALLEST_STEP = 16, 8
_MOST_LEVELS = 32
_SCATTERED = 64


def read(source: Source, void: Colour | None = None) -> FoundData:
    """Read images with label images.

    Args:
        source: The folder.
        void: Colour that is ignored if no class has it.

    Raises:
        UserError: There are no images or labels, some cannot be read, or their kind is unclear.
    """
    pairing = pair_images(source.root, source.files, source.reading)
    if pairing.per_class:
        return _masks_per_class(source, pairing)
    if not pairing.pairs:
        raise UnusableData(pairing.problems, len(pairing.problems), 'labels')
    paths = [pair.labels[0][1] for pair in pairing.pairs]
    files, problems = map_files(survey_file, paths, source.reading.jobs, 'reading labels', 'label')
    problems += pairing.problems
    if problems:
        raise UnusableData(problems, len(paths) + len(pairing.problems), 'labels')
    kind, found = _kind(files, source)
    notes = []
    if kind == 'colours':
        everything = combine(files, as_colours=True)
        if source.table is None and not source.reading.tolerance and is_smoothed(everything):
            raise smoothed_error(everything, source)
        entries, table, notes = colour_classes(everything, source, void)
        if not found.coloured and source.table is None and not found.palettes_differ:
            notes.append(
                'each grey level is a class; --format index uses the values as class indices'
            )
        if found.palettes_differ:
            notes.append(
                'the palettes of the labels differ, so their colours, not their values, are '
                'the classes'
            )
    elif kind == 'masks':
        entries, table, notes = masks.mask_classes(found, source)
    else:
        if source.table is None and is_smoothed(found):
            raise smoothed_error(combine(files, as_colours=True), source)
        entries, table, notes = index_classes(found, source)
    return FoundData(
        kind,
        _examples(pairing),
        entries,
        partial(lookup.draw, table),
        pairing.unlabelled,
        notes=notes,
    )


def _examples(pairing: Pairing) -> list[Example]:
    return [
        Example(
            pair.image,
            pair.place,
            pair.labels if pairing.per_class else pair.labels[0][1],
            pair.image.stem,
        )
        for pair in pairing.pairs
    ]


def _masks_per_class(source: Source, pairing: Pairing) -> FoundData:
    if pairing.problems:
        raise UnusableData(pairing.problems, len(pairing.pairs), 'labels')
    names = [name for pair in pairing.pairs for name, _ in pair.labels if name is not None]
    examples, notes = _examples(pairing), []
    if source.table is None and len(pairing.pairs) > 1 and len(set(names)) == len(names):
        # No name occurs twice: they number instances.
        names = [masks.OBJECT]
        examples = [
            replace(item, label=tuple((masks.OBJECT, path) for _, path in item.label))
            for item in examples
        ]
        notes.append(
            f'no two masks have the same class name, so all are instances of {masks.OBJECT!r}'
        )
    classes = masks.classes_of_masks(names, source)
    draw = partial(masks.draw_masks, classes, source.reading.tolerance)
    return FoundData('masks', examples, classes.entries, draw, pairing.unlabelled, notes=notes)


def _kind(files: list[FileSurvey], source: Source) -> tuple[str, Survey]:
    """Return ``'index'``, ``'palette'``, ``'colours'`` or ``'masks'``, and the values."""
    found = combine(files, as_colours=False)
    wanted = source.reading.format
    coloured = found.coloured or found.palettes_differ
    if wanted in ('index', 'palette', 'masks'):
        if found.coloured:
            example = next(file.path for file in files if file.coloured)
            raise UserError(
                f'label {example} is coloured, expected one channel for --format {wanted}; use '
                '--format colours.'
            )
        if wanted == 'palette' and not found.palette:
            raise UserError(
                f'label {files[0].path} has no palette; use --format index or leave it out.'
            )
        # The user says that the values count.
        if coloured:
            found = combine([replace(file, palette=None) for file in files], as_colours=False)
        return wanted, found
    if wanted == 'colours' or coloured:
        return 'colours', found
    if _table_has(combine(files, as_colours=True).keys, source):
        return 'colours', found
    if found.palette:
        return 'palette', found
    if any(entry.value is not None for entry in source.table or ()):
        return 'index', found
    values = found.keys
    if is_smoothed(found):
        values = values[solid(found)]
    if _are_grey_levels(values):
        if len(values) == 2 and values[0] == 0:
            return 'masks', found
        return ('colours' if values.max() < 256 else 'index'), found
    if source.table is None:
        _check_values(found, source)
    return 'index', found


def _check_values(found: Survey, source: Source) -> None:
    """Refuse values that are too scattered for class indices."""
    values = found.keys[found.keys != IGNORED]
    largest = int(values.max(initial=0))
    if largest < _SCATTERED or 4 * len(values) > largest:
        return
    shown = ', '.join(map(str, found.keys[:3])) + ' to ' + str(found.keys[-1])
    raise UserError(
        f'the labels in {source.root} contain {len(found.keys)} values, {shown}, too scattered for '
        'class indices; use --format masks --tolerance 127 for smoothed masks, --format index '
        'for indices, or --colours FILE with a table of the values.'
    )


def _table_has(keys: np.ndarray, source: Source) -> bool:
    """Return whether a table has all colours of labels with one channel."""
    colours = {key_of(entry.colour) for entry in source.table or () if entry.colour is not None}
    wanted = set(keys.tolist())
    return len(wanted) > 1 and wanted <= colours


def _are_grey_levels(values: np.ndarray) -> bool:
    levels = np.sort(values)
    return (
        1 < len(levels) <= _MOST_LEVELS
        and levels[levels > 0].min() >= _SMALLEST_LEVEL
        and np.diff(levels).min() >= _SMALLEST_STEP
    )
