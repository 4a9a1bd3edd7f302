"""Black and white masks: one per image, or one per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.own.classes import BACKGROUND, ClassEntry
from mmseg_encnet.workbench.converters.own.formats.lookup import Lookup
from mmseg_encnet.workbench.converters.own.found import ShapeClasses, Source, shape_classes
from mmseg_encnet.workbench.converters.own.problems import FileProblem
from mmseg_encnet.workbench.converters.own.survey import TRANSPARENT, Survey, load_label

OBJECT = 'object'


def mask_classes(survey: Survey, source: Source) -> tuple[list[ClassEntry], Lookup, list[str]]:
    """Return background and object, their look-up and notes.

    The object is the largest value, which is 255, 1 or 65535 in most masks.

    Raises:
        UserError: A table has another number of classes.
    """
    reading = source.reading
    largest = int(survey.keys.max(initial=0)) or 255
    names = [BACKGROUND, OBJECT]
    if source.table is not None:
        names = [entry.name for entry in source.table]
        if len(names) == 1:
            names = [BACKGROUND, *names]
        if len(names) != 2:
            raise UserError(
                f'class table {source.table_path} lists {len(names)} classes, expected two for '
                'masks: those of black and of white pixels.'
            )
    entries = [
        ClassEntry(names[0], 0, (0, 0, 0), reading.background == 'ignore'),
        ClassEntry(names[1], largest, (255, 255, 255)),
    ]
    lookup = Lookup(
        False, (0, largest), (0, 1), tuple(names), reading.tolerance, reading.ignore_unknown
    )
    return entries, lookup, []


def classes_of_masks(names: Sequence[str], source: Source) -> ShapeClasses:
    """Return the classes of images with a mask per class."""
    return shape_classes([ClassEntry(name) for name in sorted(set(names))], source)


def draw_masks(
    classes: ShapeClasses, tolerance: int, label: Sequence[tuple[str, Path]]
) -> np.ndarray:
    """Return the positions, ``(H, W)`` uint8, of masks; later classes cover earlier ones.

    Raises:
        FileProblem: A mask cannot be read, has grey values or another size, or its class is
            unknown.
    """
    masks = [
        (classes.position(name, path), path, _load_mask(path, tolerance)) for name, path in label
    ]
    result = np.full(masks[0][2].shape, classes.background, np.uint8)
    for position, path, mask in sorted(masks, key=lambda item: item[0]):
        if mask.shape != result.shape:
            raise FileProblem(
                path,
                f'has {mask.shape[1]} x {mask.shape[0]} pixels, but {masks[0][1]} has '
                f'{result.shape[1]} x {result.shape[0]}',
            )
        result[mask] = position
    return result


def _load_mask(path: Path, tolerance: int) -> np.ndarray:
    label = load_label(path)
    keys = label.as_colours(path) if label.palette is not None else label.keys
    if label.coloured or label.palette is not None:
        colour = np.stack([keys >> shift & 255 for shift in (16, 8, 0)]).max(axis=0)
        keys = np.where(keys == TRANSPARENT, 0, colour)
    values = np.unique(keys)
    largest = values[-1]
    between = values[(values > tolerance) & (values < largest - tolerance)]
    if len(between):
        raise FileProblem(
            path,
            f'contains {len(between)} values between 0 and {largest}, such as {between[0]}, '
            'expected a mask of one class',
            'choose other labels with --labels or --pattern, or assign them with --tolerance N',
        )
    return keys > largest // 2 if largest else np.zeros(keys.shape, bool)
