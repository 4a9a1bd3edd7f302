"""The formats of labels, one module each, and how to find out which one a folder has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mmseg_encnet.errors import UserError
from mmseg_encnet.plain_json import parse_json
from mmseg_encnet.workbench.converters.own.formats import (
    coco,
    cvat,
    label_images,
    labelme,
    pascal,
)
from mmseg_encnet.workbench.converters.own.found import FoundData, Source

_HEAD = 1 << 16
_ANNOTATIONS: dict[str, Callable[[Source, list[Path]], FoundData]] = dict(
    coco=coco.read, labelme=labelme.read, cvat=cvat.read
)


def read_source(source: Source) -> FoundData:
    """Read a folder in the stated format, or in the one that its files have.

    Raises:
        UserError: The folder has several formats or none, or files that cannot be used.
    """
    wanted = source.reading.format
    if wanted == 'pascal':
        return pascal.read(source)
    if wanted in (None, *_ANNOTATIONS):
        found = _annotation_files(source)
        if wanted is not None and wanted not in found:
            raise UserError(
                f'{source.root} contains no annotation file of the format {wanted}; check --format.'
            )
        if wanted is None and len(found) > 1:
            shown = ' and '.join(f'{name} ({paths[0]})' for name, paths in found.items())
            raise UserError(
                f'{source.root} contains annotations in several formats, {shown}; choose one with '
                '--format.'
            )
        for name, paths in found.items():
            if wanted in (None, name):
                return _ANNOTATIONS[name](source, paths)
    if wanted is None and pascal.is_pascal(source):
        return pascal.read(source)
    return label_images.read(source)


def _annotation_files(source: Source) -> dict[str, list[Path]]:
    """Return the files of each format with annotation files."""
    within = source.root / (source.reading.labels or '')
    found: dict[str, list[Path]] = {}
    for path in source.files:
        if not path.is_relative_to(within):
            continue
        kind = None
        if path.suffix.lower() == '.json':
            kind = _kind_of_json(path)
        elif path.suffix.lower() == '.xml' and cvat.is_cvat(path):
            kind = 'cvat'
        if kind is not None:
            found.setdefault(kind, []).append(path)
    return found


def _kind_of_json(path: Path) -> str | None:
    with path.open('rb') as file:
        head = file.read(_HEAD)
    if b'"shapes"' in head and b'"version"' in head:
        return 'labelme'
    try:
        content = parse_json(path.read_text(encoding='utf-8'))
    except ValueError:
        # With the keys of a format, it is a damaged file of that format.
        damaged = {b'"shapes"': 'labelme', b'"categories"': 'coco', b'"annotations"': 'coco'}
        return next((kind for key, kind in damaged.items() if key in head), None)
    if coco.is_coco(content):
        return 'coco'
    return 'labelme' if labelme.is_labelme(content) else None
