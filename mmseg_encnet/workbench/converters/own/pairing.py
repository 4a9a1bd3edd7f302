"""Match images with label images by the names of files and folders."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.own.files import (
    LABEL_SUFFIXES,
    Place,
    core_of,
    has_suffix,
    is_label_name,
    place_of,
)
from mmseg_encnet.workbench.converters.own.options import Reading
from mmseg_encnet.workbench.converters.own.problems import FileProblem, opened

# Most colours of a file that may be a label although no name says so.
_FEW_COLOURS = 64
_LOSSY = ('.jpg', '.jpeg', '.webp')


@dataclass(frozen=True)
class Pair:
    """An image with its label image, or with one mask per class.

    Attributes:
        image: The image.
        place: What the folders of the image say.
        labels: Label images, each with its class, or None for all classes.
    """

    image: Path
    place: Place
    labels: tuple[tuple[str | None, Path], ...]


@dataclass(frozen=True)
class Pairing:
    """Images and label images of a folder.

    Attributes:
        pairs: Matched files.
        unlabelled: Images without a label.
        problems: Labels without an image, and labels that match the same image.
        per_class: Whether there is a mask per class.
    """

    pairs: list[Pair]
    unlabelled: list[Path]
    problems: list[FileProblem]
    per_class: bool


@dataclass(frozen=True)
class _File:
    path: Path
    stem: str
    place: Place
    # In a match of --pattern.
    label: str | None = None


def pair_images(root: Path, files: Sequence[Path], reading: Reading) -> Pairing:
    """Match images with label images.

    Args:
        root: The folder of the user.
        files: Its files.
        reading: What the user stated.

    Raises:
        UserError: There are no images or no labels, or the pattern is invalid.
    """
    candidates = [path for path in files if has_suffix(path, LABEL_SUFFIXES)]
    if not candidates:
        raise UserError(f'{root} contains no images; check the path.')
    if reading.pattern is not None:
        images, labels = _by_pattern(root, candidates, reading)
        schemes = _SCHEMES[:1]
    else:
        images, labels = _by_role(root, candidates, reading)
        schemes = _SCHEMES
    if not images or not labels:
        missing = 'images' if not images else 'labels'
        raise UserError(
            f'cannot find the {missing} in {root}; name their folders with --images DIR and '
            "--labels DIR, or their file names with --pattern '{name}_mask.png'."
        )
    # The first of those that match most labels.
    found = max((scheme(images, labels) for scheme in schemes), key=_matched_labels)
    if not found:
        raise UserError(
            f'no label in {root} has the name of an image, compare {images[0].path} and '
            f"{labels[0].path}; give the names with --pattern '{{name}}_mask.png'."
        )
    used = {path for matches in found.values() for _, path in matches}
    splits = {file.path: file.place.split for file in labels}
    problems = [
        FileProblem(file.path, 'no image has the name of this label')
        for file in labels
        if file.path not in used
    ]
    per_class = any(name is not None for matches in found.values() for name, _ in matches)
    pairs, unlabelled = [], []
    for file in images:
        matches = found.get(file.path)
        if not matches:
            unlabelled.append(file.path)
            continue
        names = [name for name, _ in matches]
        if len(set(names)) < len(names) or (None in names and len(names) > 1):
            shown = ' and '.join(str(path) for _, path in matches[:2])
            problems.append(
                FileProblem(
                    file.path, f'{shown} both match this image; choose with --labels or --pattern'
                )
            )
            continue
        place = replace(file.place, split=file.place.split or splits[matches[0][1]])
        pairs.append(Pair(file.path, place, tuple(sorted(matches, key=lambda item: str(item[0])))))
    return Pairing(pairs, unlabelled, problems, per_class)


def _matched_labels(found: dict[Path, list[tuple[str | None, Path]]]) -> int:
    """Return the number of labels that match an image alone or as one of its classes."""
    return sum(
        len(matches)
        for matches in found.values()
        if len({name for name, _ in matches}) == len(matches)
    )


def _by_pattern(
    root: Path, candidates: Iterable[Path], reading: Reading
) -> tuple[list[_File], list[_File]]:
    assert reading.pattern is not None
    image_pattern, equals, label_pattern = reading.pattern.rpartition('=')
    if '{name}' not in label_pattern or (equals and '{name}' not in image_pattern):
        raise UserError(
            f"pattern {reading.pattern!r} lacks {{name}}; write it as '{{name}}_mask.png'."
        )
    of_label = _expression(label_pattern)
    of_image = _expression(image_pattern if equals else '{name}')
    images, labels = [], []
    for path in candidates:
        place = place_of(path, root)
        if place.role == 'other' or (
            place.role is None and not _inside(path, root, reading.labels, reading.images)
        ):
            continue
        name = path.relative_to(root).as_posix()
        an_image = reading.images and _inside(path, root, reading.images)
        match = None if an_image else of_label.fullmatch(name)
        kinds, match = (labels, match) if match else (images, of_image.fullmatch(name))
        if match is None:
            continue
        parts = match.groupdict()
        folder = place_of(root / parts['folder'] / 'file', root)
        kinds.append(_File(path, parts['name'], folder, parts.get('class')))
    return images, labels


def _expression(pattern: str) -> re.Pattern[str]:
    """Return the expression of a relative path that ends with a pattern."""
    if not pattern.lower().endswith(LABEL_SUFFIXES):
        pattern += '{suffix}'
    parts = re.split(r'\{(\w+)\}', pattern)
    kinds = dict(name='[^/]+?', suffix=r'\.[^./]+')
    kinds['class'] = '[^/]+?'
    seen: set[str] = set()
    text = '(?P<folder>(?:.*/)?)'
    for index, part in enumerate(parts):
        if index % 2 == 0:
            text += re.escape(part)
        elif part not in kinds:
            raise UserError(
                f'pattern {pattern!r} contains {{{part}}}, expected {{name}} or {{class}}.'
            )
        elif part in seen:
            text += f'(?P={part})'
        else:
            seen.add(part)
            text += f'(?P<{part}>{kinds[part]})'
    return re.compile(text)


def _inside(path: Path, root: Path, *folders: str | None) -> bool:
    """Return whether a path is in one of some folders; True if none is given."""
    given = [folder for folder in folders if folder is not None]
    return not given or any(path.is_relative_to(root / folder) for folder in given)


def _by_role(
    root: Path, candidates: Iterable[Path], reading: Reading
) -> tuple[list[_File], list[_File]]:
    """Tell images and labels apart by folders, else by names, else by their content."""
    files = []
    for path in candidates:
        place = place_of(path, root)
        role = place.role
        for folder, kind in ((reading.images, 'image'), (reading.labels, 'label')):
            if folder is None:
                continue
            if path.is_relative_to(root / folder):
                role = kind
                inner = place_of(path, root / folder)
                place = Place(inner.folder, inner.split or place.split, kind)
                break
            if role == kind:
                role = 'other'
        if role != 'other':
            files.append(_File(path, path.stem, replace(place, role=role)))
    roles = {
        role: [file for file in files if file.place.role == role] for role in ('image', 'label')
    }
    rest = [file for file in files if file.place.role is None]
    if roles['image'] and roles['label']:
        return roles['image'], roles['label']
    if rest and roles['label']:
        return rest, roles['label']
    if rest and roles['image']:
        return roles['image'], rest
    return _by_name(files)


def _by_name(files: Sequence[_File]) -> tuple[list[_File], list[_File]]:
    labels = [file for file in files if is_label_name(file.stem)]
    if labels and len(labels) < len(files):
        return [file for file in files if file not in set(labels)], labels
    by_stem = defaultdict(list)
    for file in files:
        by_stem[file.path.parent, file.stem].append(file)
    twins = [group for group in by_stem.values() if len(group) == 2]
    found = []
    for group in twins:
        lossless = [file for file in group if file.path.suffix.lower() not in _LOSSY]
        found += lossless if len(lossless) == 1 else []
    if not found:
        # Of folders with the same file names, the one with few colours.
        folders = {file.path.parent for file in files}
        few = {
            folder
            for folder in folders
            if _has_few_colours(next(f.path for f in files if f.path.parent == folder))
        }
        found = [file for file in files if file.path.parent in few]
        if len(few) == 1 < len(folders):
            found = [replace(f, place=Place('', f.place.split, 'label')) for f in found]
    chosen = {file.path for file in found}
    return [file for file in files if file.path not in chosen], found


def _has_few_colours(path: Path) -> bool:
    try:
        with opened(path) as file:
            pixels = np.asarray(file.convert('RGB')).reshape(-1, 3).astype(np.int32)
    except FileProblem:
        # It is reported when the labels are read.
        return False
    return len(np.unique(pixels @ [65536, 256, 1])) <= _FEW_COLOURS


def _matched(images: list[_File], labels: list[_File], name: Callable[[_File], str]) -> dict:
    """Match by folder and name, else by name alone where only one image has it."""
    keys: tuple[Callable[[_File], object], ...] = (
        lambda file: (file.place.split, file.place.folder, name(file)),
        lambda file: (file.place.folder, name(file)),
        name,
    )
    found: dict[Path, list] = defaultdict(list)
    waiting = labels
    for key in keys:
        by_key = defaultdict(list)
        for image in images:
            by_key[key(image)].append(image.path)
        left = []
        for label in waiting:
            matches = by_key.get(key(label), ())
            if len(matches) == 1:
                found[matches[0]].append((label.label, label.path))
            else:
                left.append(label)
        waiting = left
    return found


def _class_folder(label: _File) -> Iterator[tuple[str, str, str]]:
    """Yield the parts of ``CLASS/NAME.png``."""
    folder, _, last = label.place.folder.rpartition('/')
    if last:
        yield folder, label.stem, last
        yield folder, core_of(label.stem), last


def _image_folder(label: _File) -> Iterator[tuple[str, str, str]]:
    """Yield the parts of ``NAME/CLASS.png``."""
    folder, _, last = label.place.folder.rpartition('/')
    if last:
        yield folder, last, label.stem


def _class_suffix(label: _File) -> Iterator[tuple[str, str, str]]:
    """Yield the parts of ``NAME_CLASS.png``."""
    for separator in re.finditer(r'[ _.-]+', label.stem):
        name, kind = label.stem[: separator.start()], label.stem[separator.end() :]
        yield label.place.folder, name, core_of(kind)


def _per_class(
    images: list[_File],
    labels: list[_File],
    parts: Callable[[_File], Iterable[tuple[str, str, str]]],
) -> dict:
    """Match by folder and name; ``parts`` yields possible folders, names and classes."""
    exact = defaultdict(list)
    by_name = defaultdict(list)
    for image in images:
        exact[image.place.folder, image.stem].append(image.path)
        by_name[image.stem].append(image.path)
    found: dict[Path, list] = defaultdict(list)
    for label in labels:
        for folder, name, kind in parts(label):
            matches = exact.get((folder, name)) or by_name.get(name) or ()
            if len(matches) == 1 and kind:
                found[matches[0]].append((kind, label.path))
                break
    return found


# Ways to match labels with images, the most common first.
_SCHEMES = (
    partial(_matched, name=lambda file: file.stem),
    partial(_matched, name=lambda file: core_of(file.stem)),
    partial(_per_class, parts=_class_folder),
    partial(_per_class, parts=_class_suffix),
    partial(_per_class, parts=_image_folder),
)
