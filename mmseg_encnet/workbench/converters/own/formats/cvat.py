"""CVAT XML 1.1 for images: polygons, boxes, ellipses and masks, with their order."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmseg_encnet.disk import shown
from mmseg_encnet.errors import UserError, first_line
from mmseg_encnet.values import brief
from mmseg_encnet.workbench.converters import run_length
from mmseg_encnet.workbench.converters.own.classes import ClassEntry, Colour
from mmseg_encnet.workbench.converters.own.files import place_of, split_of_name
from mmseg_encnet.workbench.converters.own.formats.shapes import covered, ellipse, paste, rotated
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
)

_DRAWN = ('polygon', 'box', 'ellipse', 'mask')
_NOT_DRAWN = ('polyline', 'points', 'cuboid', 'skeleton')
_HEAD = 4096
# File, name of the image, attributes of the image, and the shapes with their attributes.
_Label = tuple[str, str, dict[str, str], list[tuple[str, dict[str, str]]]]


def is_cvat(path: Path) -> bool:
    """Return whether an XML file starts as CVAT's for images do."""
    with path.open('rb') as file:
        head = file.read(_HEAD)
    return b'<annotations' in head and (b'<image' in head or b'<meta' in head)


def read(source: Source, paths: list[Path]) -> FoundData:
    """Read CVAT's annotation files.

    Classes are in the order of the task, else sorted by name. Shapes are drawn by ascending
    z-order, and in the order of the file where it is equal.

    Raises:
        UserError: A file is damaged or lists an image that is missing.
    """
    index = ImageIndex(source)
    entries: dict[str, ClassEntry] = {}
    examples: list[Example] = []
    problems: list[FileProblem] = []
    skipped: Counter[str] = Counter()
    for path in paths:
        root = _load(path)
        if root.find('image') is None:
            raise UserError(
                f"{path} lists no images; export the task as 'CVAT for images', not for video."
            )
        for name, colour in _labels(root):
            entries.setdefault(name, ClassEntry(name, None, colour))
        for image in root.iter('image'):
            name = image.get('name', '')
            shapes = []
            for shape in image:
                if shape.tag in _DRAWN:
                    shapes.append((shape.tag, dict(shape.attrib)))
                elif shape.tag in _NOT_DRAWN:
                    skipped[shape.tag] += 1
            found = index.find(name, path, image.get('subset', ''))
            if found is None:
                problems.append(
                    FileProblem(path, f'lists the image {shown(name)}, which is missing')
                )
                continue
            place = place_of(found, source.root)
            subset = split_of_name(image.get('subset', ''))
            place = replace(place, split=subset or place.split or split_of_name(path.stem))
            label: _Label = (str(path), name, dict(image.attrib), shapes)
            examples.append(Example(found, place, label, found.stem))
    if problems:
        raise UnusableData(problems, len(examples) + len(problems), 'images')
    drawn = {
        shape['label'] for example in examples for _, shape in example.label[3] if 'label' in shape
    }
    for name in sorted(drawn):
        entries.setdefault(name, ClassEntry(name))
    classes = shape_classes(list(entries.values()), source)
    return FoundData(
        'cvat',
        examples,
        classes.entries,
        partial(_draw, classes),
        index.unlabelled(examples),
        unlabelled_is_normal=True,
        upright=True,
        notes=[
            f'{count} shapes of type {kind} have no area and are left out'
            for kind, count in sorted(skipped.items())
        ],
    )


def _load(path: Path) -> ElementTree.Element:
    try:
        content = path.read_bytes()
        # Entities can expand to gigabytes; CVAT writes none.
        if b'<!ENTITY' in content:
            raise ValueError('it declares entities')
        return ElementTree.fromstring(content)
    # An unknown encoding is a LookupError.
    except (OSError, LookupError, ValueError, ElementTree.ParseError) as error:
        raise UserError(
            f'{path} is not a complete XML file of CVAT ({first_line(error)}); export it again.'
        ) from error


def _labels(root: ElementTree.Element) -> Iterator[tuple[str, Colour | None]]:
    for label in root.iter('label'):
        name, colour = label.findtext('name'), label.findtext('color') or ''
        if name is None:
            continue
        digits = colour.removeprefix('#')
        try:
            number = int(digits, 16) if len(digits) == 6 else None
        except ValueError:
            number = None
        yield name, None if number is None else (number >> 16, number >> 8 & 255, number & 255)


def _draw(classes: ShapeClasses, label: _Label) -> np.ndarray:
    path, image, attributes, shapes = label
    try:
        height, width = int(attributes['height']), int(attributes['width'])
    except (KeyError, ValueError) as error:
        raise FileProblem(path, f'does not give the size of {brief(image)} in pixels') from error
    shape = checked_size(path, width, height, image)
    result = np.full(shape, classes.background, np.uint8)
    for kind, entry in sorted(shapes, key=_order):
        name = entry.get('label', '')
        position = classes.position(name, path, image)
        try:
            result[_mask(kind, entry, shape)] = position
        except MALFORMED as error:
            if isinstance(error, UserError):
                raise
            raise FileProblem(
                path,
                f'{shown(image)} contains an invalid {kind} of {shown(name)!r} '
                f'({first_line(error)})',
            ) from error
    return result


def _order(shape: tuple[str, dict[str, str]]) -> int:
    try:
        return int(shape[1].get('z_order', 0))
    except ValueError:
        return 0


def _mask(kind: str, entry: dict[str, str], shape: tuple[int, int]) -> np.ndarray:
    if kind == 'mask':
        return _run_lengths(entry, shape)
    angle = float(entry.get('rotation', 0))
    points: list[Any]
    if kind == 'polygon':
        points = [
            tuple(float(value) for value in point.split(','))
            for point in entry['points'].split(';')
        ]
    elif kind == 'box':
        left, top, right, bottom = (float(entry[key]) for key in ('xtl', 'ytl', 'xbr', 'ybr'))
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
        points = rotated(points, ((left + right) / 2, (top + bottom) / 2), angle)
    else:
        x, y, width, height = (float(entry[key]) for key in ('cx', 'cy', 'rx', 'ry'))
        points = ellipse((x, y), (width, height), angle)
    return covered(points, shape)


def _run_lengths(entry: dict[str, str], shape: tuple[int, int]) -> np.ndarray:
    """Decode runs in row order within a rectangle, zeros first."""
    left, top, width, height = (int(entry[key]) for key in ('left', 'top', 'width', 'height'))
    if not (0 < width <= shape[1] and 0 < height <= shape[0]):
        raise ValueError(f'its size is {width} x {height}')
    counts = [int(count) for count in entry['rle'].split(',')]
    # The decoder's runs are in column order.
    mask = run_length.decode(counts, width, height).T
    return paste(shape, mask, left, top)
