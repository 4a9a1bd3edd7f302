"""COCO JSON: polygons and run lengths, crowds included."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmseg_encnet.disk import shown
from mmseg_encnet.errors import UserError, first_line, type_and_first_line
from mmseg_encnet.plain_json import read_json
from mmseg_encnet.values import brief, integer, text
from mmseg_encnet.workbench.converters.coco_format import decode_segmentation
from mmseg_encnet.workbench.converters.own.classes import ClassEntry
from mmseg_encnet.workbench.converters.own.files import place_of, split_of_name
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

_KEYS = ('images', 'annotations', 'categories')
# Category names by id, and (file, image, annotations).
_Label = tuple[str, dict[str, Any], list[tuple[str, Any]]]


def is_coco(content: Any) -> bool:
    """Return whether the content of a JSON file has COCO's keys."""
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in _KEYS)


def read(source: Source, paths: list[Path]) -> FoundData:
    """Read the annotations of COCO files.

    Classes are in the order of their category ids. Crowds are drawn first, then all other
    annotations in the order of the file, so that later ones cover earlier ones.

    Raises:
        UserError: A file is damaged or lists an image that is missing.
    """
    index = ImageIndex(source)
    categories: dict[int, str] = {}
    examples: list[Example] = []
    problems: list[FileProblem] = []
    # Roboflow lists the name of the project as a category, without annotations.
    projects: set[str] = set()
    for path in paths:
        try:
            content = read_json(path)
        except UserError as error:
            raise UserError(f'{error}; export it again.') from error
        try:
            names = _categories(path, content, categories)
            projects |= {str(item.get('supercategory')) for item in content['categories']}
            _find(path, content, names, source, index, examples, problems)
        except UserError:
            raise
        except MALFORMED as error:
            raise UserError(
                f'{path} does not have the format of COCO ({type_and_first_line(error)}); export '
                'it again.'
            ) from error
    labelled = {name for example in examples for name, _ in example.label[2]}
    if problems:
        raise UnusableData(problems, len(examples) + len(problems), 'images')
    ordered = [
        ClassEntry(name)
        for _, name in sorted(categories.items())
        if name in labelled or name not in projects
    ]
    classes = shape_classes(list(dict.fromkeys(ordered)), source)
    return FoundData(
        'coco',
        examples,
        classes.entries,
        partial(_draw, classes),
        index.unlabelled(examples),
        unlabelled_is_normal=True,
    )


def _categories(path: Path, content: Any, known: dict[int, str]) -> dict[int, str]:
    names = {
        integer(category['id'], 'id of a category'): text(category['name'], 'name of a category')
        for category in content['categories']
    }
    for number, name in names.items():
        if known.setdefault(number, name) != name:
            raise UserError(
                f'{path} names category {number} {shown(name)!r}, another file '
                f'{shown(known[number])!r}; convert them separately.'
            )
    return names


def _find(
    path: Path,
    content: Any,
    names: dict[int, str],
    source: Source,
    index: ImageIndex,
    examples: list[Example],
    problems: list[FileProblem],
) -> None:
    """Add the labelled images of a file, and its problems."""
    split = split_of_name(path.stem) or place_of(path, source.root).split
    by_image: dict[Any, list[dict[str, Any]]] = {image['id']: [] for image in content['images']}
    for annotation in content['annotations']:
        where = f'annotation {brief(annotation.get("id"))}'
        image_id, category = annotation['image_id'], annotation['category_id']
        if image_id not in by_image:
            reason = f'{where} is for image {brief(image_id)}, which is missing'
            problems.append(FileProblem(path, reason))
        elif category not in names:
            reason = f'{where} has the unknown category {brief(category)}'
            problems.append(FileProblem(path, reason))
        else:
            by_image[image_id].append(annotation)
    folder = path.stem.removeprefix('instances_').removeprefix('_annotations')
    for image in content['images']:
        name = text(image['file_name'], 'file_name')
        found = index.find(name, path, folder)
        if found is None:
            problems.append(FileProblem(path, f'lists the image {shown(name)}, which is missing'))
            continue
        # Sorting keeps the order of the file otherwise.
        drawn = sorted(by_image[image['id']], key=lambda item: not item.get('iscrowd'))
        label: _Label = (
            str(path),
            image,
            [(names[item['category_id']], item.get('segmentation')) for item in drawn],
        )
        place = place_of(found, source.root)
        place = replace(place, split=split or place.split)
        examples.append(Example(found, place, label, found.stem))


def _draw(classes: ShapeClasses, label: _Label) -> np.ndarray:
    path, image, annotations = label
    name = image['file_name']
    shape = checked_size(path, image.get('width'), image.get('height'), name)
    result = np.full(shape, classes.background, np.uint8)
    for category, segmentation in annotations:
        position = classes.position(category, path, name)
        if not segmentation:
            raise FileProblem(
                path,
                f'{shown(name)} contains a {shown(category)!r} without polygon or run lengths, '
                'expected masks instead of boxes',
            )
        try:
            result[decode_segmentation(segmentation, shape)] = position
        except UserError:
            raise
        except MALFORMED as error:
            raise FileProblem(
                path,
                f'{shown(name)} contains an invalid mask of {shown(category)!r} '
                f'({first_line(error)})',
            ) from error
    return result
