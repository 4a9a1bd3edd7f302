"""LabelMe JSON: one file per image, with or without the image in it."""

from __future__ import annotations

import base64
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmseg_encnet.disk import shown
from mmseg_encnet.errors import first_line, type_and_first_line
from mmseg_encnet.plain_json import parse_json
from mmseg_encnet.values import text
from mmseg_encnet.workbench.converters.own.classes import ClassEntry
from mmseg_encnet.workbench.converters.own.files import place_of
from mmseg_encnet.workbench.converters.own.formats.shapes import painted, paste
from mmseg_encnet.workbench.converters.own.found import (
    Example,
    FoundData,
    ShapeClasses,
    Source,
    shape_classes,
)
from mmseg_encnet.workbench.converters.own.image_index import ImageIndex
from mmseg_encnet.workbench.converters.own.problems import (
    MALFORMED,
    FileProblem,
    UnusableData,
    checked_size,
    map_files,
    opened,
)


def is_labelme(content: Any) -> bool:
    """Return whether the content of a JSON file has LabelMe's keys."""
    return (
        isinstance(content, dict)
        and isinstance(content.get('shapes'), list)
        and 'imagePath' in content
    )


def read(source: Source, paths: list[Path]) -> FoundData:
    """Read LabelMe files.

    Classes are sorted by name, unless a table lists them. Shapes are drawn in the order of the
    file, so that later ones cover earlier ones.

    Raises:
        UserError: A file is damaged or its image is missing.
    """
    index = ImageIndex(source)
    names: set[str] = set()
    examples: list[Example] = []
    results, problems = map_files(
        _survey, sorted(paths), source.reading.jobs, 'reading labels', 'label'
    )
    for path, image_name, embedded, found in results:
        names |= found
        image = index.find(image_name, path) or index.beside(path)
        if image is None and not embedded:
            problems.append(FileProblem(path, f'its image {shown(image_name)} is missing'))
            continue
        place = place_of(image or path, source.root)
        examples.append(Example(image or path, place, path, (image or path).stem))
    if problems:
        raise UnusableData(problems, len(paths), 'labels')
    classes = shape_classes([ClassEntry(name) for name in names], source, keep_order=False)
    return FoundData(
        'labelme',
        examples,
        classes.entries,
        partial(_draw, classes),
        index.unlabelled(examples),
        upright=True,
    )


def embedded_image(path: Path) -> Image.Image:
    """Return the image in a LabelMe file.

    Raises:
        FileProblem: The image is damaged.
    """
    try:
        content = base64.b64decode(_load(path)['imageData'])
    except MALFORMED as error:
        raise FileProblem(path, f'its imageData cannot be read ({first_line(error)})') from error
    with opened(path, content) as image:
        image.load()
        # The file is closed at the end.
        return image.copy()


def _load(path: Path) -> Any:
    try:
        return parse_json(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise FileProblem(path, f'is not a complete JSON file ({first_line(error)})') from error


def _survey(path: Path) -> tuple[Path, str, bool, set[str]]:
    """Return the file, the name of its image, whether it contains it, and its classes."""
    content = _load(path)
    try:
        names = {text(shape['label'], 'label') for shape in content['shapes']}
        image = text(content['imagePath'], 'imagePath')
        return path, image, bool(content.get('imageData')), names
    except MALFORMED as error:
        raise FileProblem(
            path, f'does not have the format of LabelMe ({type_and_first_line(error)})'
        ) from error


def _draw(classes: ShapeClasses, path: Path) -> np.ndarray:
    content = _load(path)
    shape = checked_size(path, content.get('imageWidth'), content.get('imageHeight'))
    result = np.full(shape, classes.background, np.uint8)
    for entry in content['shapes']:
        name = entry['label']
        position = classes.position(name, path)
        try:
            result[_mask(path, entry, shape)] = position
        except MALFORMED as error:
            raise FileProblem(
                path, f'contains an invalid shape of {shown(name)!r} ({first_line(error)})'
            ) from error
    return result


def _mask(path: Path, entry: dict[str, Any], shape: tuple[int, int]) -> np.ndarray:
    kind = entry.get('shape_type') or 'polygon'
    points = [(float(x), float(y)) for x, y in entry['points']]
    if not np.isfinite(points).all():
        raise ValueError('a point is not a number')
    if kind == 'mask':
        (left, top), _ = points
        with opened(path, base64.b64decode(entry['mask'])) as file:
            mask = np.asarray(file) > 0
        return paste(shape, mask, round(left), round(top))
    return painted(kind, points, shape)
