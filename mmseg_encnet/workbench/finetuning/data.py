"""Check a folder of photographs and labels before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmseg_encnet.datasets.image_sizes import open_image
from mmseg_encnet.errors import UserError, first_line

CLASSES = 'classes.txt'
IGNORED = 255
# Three to train, one to validate.
FEWEST_IMAGES = 4
_SUFFIXES = ('.jpg', '.jpeg', '.png')
_EVERY = 5


@dataclass(frozen=True)
class Split:
    """The images of one split.

    Attributes:
        images: Folder of the images.
        labels: Folder of the labels.
        names: File names without suffix.
    """

    images: Path
    labels: Path
    names: list[str]


@dataclass(frozen=True)
class OwnData:
    """A checked folder of images and labels.

    Attributes:
        root: The folder.
        classes: Class names by index.
        suffix: Suffix of the image files; labels are PNG files.
        train, val: The splits.
    """

    root: Path
    classes: list[str]
    suffix: str
    train: Split
    val: Split


def read_own_data(root: Path) -> OwnData:
    """Read and check a folder of images and labels.

    The folder has ``images/train`` and ``labels/train``, and ``images/val`` and ``labels/val`` for
    validation; or only ``images`` and ``labels``, of which every fifth image is for validation. A
    label is a PNG file with the name of its image whose values are class indices, 255 for ignored
    pixels. ``classes.txt`` lists the class names, one per line; without it, the classes are
    numbered.

    Raises:
        UserError: Something is missing or does not fit; the message names the file.
    """
    if not root.is_dir():
        raise UserError(f'data folder {root} does not exist; check the path.')
    folder = root / 'images' / 'train'
    divided = folder.is_dir()
    folder = folder if divided else root / 'images'
    suffix = _suffix(folder)
    train = _split(root, 'train' if divided else '', suffix)
    if divided and (root / 'images' / 'val').is_dir():
        val = _split(root, 'val', suffix)
    else:
        names = train.names
        val = Split(train.images, train.labels, names[_EVERY - 1 :: _EVERY] or names[-1:])
        train = Split(train.images, train.labels, sorted(set(names) - set(val.names)))
    count = len(train.names) + len(val.names)
    if count < FEWEST_IMAGES or not val.names:
        raise UserError(
            f'got {count} labelled images in {root}, expected at least {FEWEST_IMAGES}; label more.'
        )
    largest = max(
        [_largest_label(split, name, suffix) for split in (train, val) for name in split.names]
    )
    return OwnData(root, _classes(root, largest), suffix, train, val)


def _suffix(folder: Path) -> str:
    if not folder.is_dir():
        raise UserError(
            f'folder {folder} does not exist; put the images there and their labels under '
            f'{folder.parents[0 if folder.name == "images" else 1]}/labels.'
        )
    found = sorted({path.suffix for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES})
    if len(found) != 1:
        raise UserError(
            f'{folder} contains images ending in {" and ".join(found) or "no known suffix"}, '
            f'expected one of {", ".join(_SUFFIXES)}; convert them to one format.'
        )
    return found[0]


def _split(root: Path, name: str, suffix: str) -> Split:
    images, labels = root / 'images' / name, root / 'labels' / name
    names = sorted(path.stem for path in images.glob(f'*{suffix}'))
    missing = [stem for stem in names if not (labels / f'{stem}.png').is_file()]
    if missing:
        raise UserError(
            f'{len(missing)} of {len(names)} images in {images} have no label '
            f'({labels / missing[0]}.png{", ..." * (len(missing) > 1)}); label or remove them.'
        )
    return Split(images, labels, names)


def _largest_label(split: Split, name: str, suffix: str) -> int:
    """Return the largest class index in a label, -1 if all its pixels are ignored."""
    path = split.labels / f'{name}.png'
    try:
        with open_image(path, kind='label') as file:
            label = np.asarray(file)
        with open_image(split.images / f'{name}{suffix}') as image:
            size = image.size
    except OSError as error:
        raise UserError(
            f'{path} or its image cannot be read ({first_line(error)}); replace it.'
        ) from error
    if label.ndim != 2 or label.dtype == bool:
        raise UserError(
            f'label {path} has mode {file.mode if label.ndim == 2 else label.shape}, expected one '
            'channel of 8-bit class indices; convert it.'
        )
    if label.shape != size[::-1]:
        raise UserError(
            f'label {path} has size {label.shape[1]}x{label.shape[0]} (width x height), expected '
            f'{size[0]}x{size[1]} as its image; correct it.'
        )
    return int(label[label != IGNORED].astype(np.int64).max(initial=-1))


def _classes(root: Path, largest: int) -> Sequence[str]:
    path = root / CLASSES
    if not path.is_file():
        if largest < 1:
            raise UserError(
                f'the labels in {root} contain {largest + 1} classes, expected at least 2; label '
                'the rest of the images as a class, too.'
            )
        return [f'class {index}' for index in range(largest + 1)]
    names = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(f'{path} must list two or more different class names, one per line.')
    if largest >= len(names):
        raise UserError(
            f'the labels in {root} contain class index {largest}, but {path} has {len(names)} '
            'names; add the missing names or correct the labels.'
        )
    return names
