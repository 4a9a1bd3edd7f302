"""Files of a folder, and what the names of files and folders say about them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmseg_encnet.datasets.loading import IMAGE_SUFFIXES, check_regular
from mmseg_encnet.errors import UserError

LABEL_SUFFIXES = (*IMAGE_SUFFIXES, '.gif', '.pbm', '.pgm', '.ppm')
_LABEL_WORDS = frozenset((
    'label', 'labels', 'annotation', 'annotations', 'annot', 'annots', 'mask', 'masks', 'gt',
    'gts', 'groundtruth', 'ground_truth', 'ground-truth', 'seg', 'segs', 'segmentation',
    'segmentations', 'segmentationclass', 'segmentationclassaug', 'segmentationclasspng', 'gtfine',
    'labels_rgb', 'labels_colored', 'labels_class_dict', 'target', 'targets', 'annotated',
    'groundtruths', 'label_images',
))  # fmt: skip
_IMAGE_WORDS = frozenset((
    'image', 'images', 'img', 'imgs', 'jpegimages', 'photo', 'photos', 'photographs', 'picture',
    'pictures', 'rgb', 'frames', 'leftimg8bit', 'original', 'originals', 'original_images',
    'input', 'inputs', 'raw',
))  # fmt: skip
# Kept by some tools beside the labels; not semantic labels.
_OTHER_WORDS = frozenset((
    'segmentationobject', 'segmentationclassvisualization', 'segmentationobjectpng', 'instances',
    'overlays', 'overlay', 'visualization', 'viz',
))  # fmt: skip
_SPLITS = {
    **dict.fromkeys(('train', 'training'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation', 'dev'), 'val'),
    **dict.fromkeys(('test', 'testing'), 'test'),
}
# The longest first: training, not train and ing.
_SPLIT_WORD = re.compile(
    rf'({"|".join(sorted(_SPLITS, key=len, reverse=True))})(?:[_-]?(.*))?', re.IGNORECASE
)
_TAG = re.compile(
    r'(?:[ _.-](?:color_mask|label_?ids?|label_?train_?ids|gtfine_labelids|gtfine_color|labels?|'
    r'masks?|gt|seg|segmentation|annotation|ground_?truth|l|leftimg8bit|images?|img|sat|rgb|orig|'
    r'photo|im))+$',
    re.IGNORECASE,
)
_PREFIX = re.compile(
    r'^(?:labels?|masks?|gt|seg|segmentation|annotation|images?|img|im|photo|rgb)[ _.-]+',
    re.IGNORECASE,
)
_LABEL_NAME = re.compile(
    r'(?:^|[ _.-])(?:color_mask|label_?ids?|label_?train_?ids|labels?|masks?|gt|seg|segmentation|'
    r'annotation|ground_?truth)(?:$|[ _.-](?!.*[ _.-](?:image|img|photo)))|_L$',
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Place:
    """What the folders of a file say.

    Attributes:
        folder: Folders that remain, without the words below, joined by ``/``.
        split: ``'train'``, ``'val'``, ``'test'`` or None.
        role: ``'image'``, ``'label'``, ``'other'`` or None.
    """

    folder: str
    split: str | None
    role: str | None


def list_files(root: Path) -> list[Path]:
    """Return all files of a folder, sorted, without hidden ones and those of archivers.

    Raises:
        UserError: The folder does not exist, or contains a pipe, socket or device.
    """
    if not root.is_dir():
        raise UserError(f'data folder {root} does not exist; check the path.')
    found, visited = [], set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(
            name for name in folders if not name.startswith('.') and name != '__MACOSX'
        )
        found += [Path(folder, name) for name in sorted(names) if not name.startswith('.')]
    for path in found:
        check_regular(path)
    return found


def place_of(path: Path, root: Path) -> Place:
    """Return what the folders between ``root`` and a file say."""
    folder, split, role = [], None, None
    for part in path.relative_to(root).parts[:-1]:
        lower = part.lower()
        if lower in _OTHER_WORDS:
            role = 'other'
        elif lower in _LABEL_WORDS:
            role = role or 'label'
        elif lower in _IMAGE_WORDS:
            role = role or 'image'
        else:
            match = _SPLIT_WORD.fullmatch(part)
            word = (match[2] or '').lower() if match else ''
            # As in trainannot, val_masks or train2017.
            if match and (word in ('', 'annot', 'annots') or _is_role(word) or word.isdigit()):
                split = _SPLITS[match[1].lower()]
                if word and not word.isdigit():
                    role = role or ('image' if _singular(word, _IMAGE_WORDS) else 'label')
            else:
                folder.append(part)
    return Place('/'.join(folder), split, role)


def split_of_name(name: str) -> str | None:
    """Return the split in the name of a file such as ``instances_train2017``, None if none is."""
    for word in re.split(r'[ _.-]+', name.lower()):
        split = _SPLITS.get(word.rstrip('0123456789'))
        if split:
            return split
    return None


def core_of(stem: str) -> str:
    """Return a stem without words such as ``_mask`` or ``image_``, for comparison."""
    core = _TAG.sub('', stem)
    return _PREFIX.sub('', core) or core or stem


def is_label_name(stem: str) -> bool:
    """Return whether a stem has a word for labels, as in ``0001_mask`` or ``label_0001``."""
    return bool(_LABEL_NAME.search(stem))


def has_suffix(path: Path, suffixes: Sequence[str]) -> bool:
    """Return whether the suffix of a path, in any case, is one of some."""
    return path.suffix.lower() in suffixes


def _is_role(word: str) -> bool:
    return _singular(word, _IMAGE_WORDS) or _singular(word, _LABEL_WORDS)


def _singular(word: str, words: frozenset[str]) -> bool:
    return word in words or f'{word}s' in words
