"""Clothing Co-Parsing: street photographs with pixel-level labels of garments.

The authors' repository contains 1,004 photographs, 550 pixels wide, with labels of 59 tags in
MATLAB files. The 30 garments that occur in at least 50 photographs and the background are the
classes; the other tags are ignored. Photographs and labels are shrunk to a width of 400 pixels.

The split is this project's own: ``splits/clothing_train.txt`` lists 583 images for training and
``splits/clothing_val.txt`` 133 for validation. The remaining 288 images are held out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.archives import START_OVER
from mmseg_encnet.workbench.converters.command import Converter, Workspace
from mmseg_encnet.workbench.converters.download import PublishedFile
from mmseg_encnet.workbench.converters.matlab import variables_of
from mmseg_encnet.workbench.converters.photographs import read_splits, shrunk

ARCHIVE = PublishedFile(
    'https://github.com/bearpaw/clothing-co-parsing/archive/refs/heads/master.zip',
    name='clothing-co-parsing-master.zip',
)
WIDTH = 400
_KIND = 'a file of Clothing Co-Parsing'
_WANTED = (
    # Only the first 1,004 photographs have pixel-level labels.
    r'[^/]+/(label_list\.mat|annotations/pixel-level/\d{4}\.mat|photos/(?:0\d{3}|100[0-4])\.jpg)'
)


def class_indices(label_list: Path) -> np.ndarray:
    """Return the class, uint8, of each tag in the repository's list; 255 for other tags.

    Raises:
        UserError: The list is missing, damaged or lacks a class.
    """
    from mmseg_encnet.datasets.clothing import ClothingDataset

    with variables_of(label_list, _KIND) as content:
        tags = [str(tag.item()) for tag in content['label_list'].ravel()]
    names = ['background' if tag == 'null' else tag for tag in tags]
    classes = ClothingDataset.METAINFO['classes']
    missing = set(classes) - set(names)
    if missing:
        raise UserError(f'{label_list} lacks the tag {min(missing)!r}; delete it, {START_OVER}')
    return np.array([classes.index(name) if name in classes else 255 for name in names], np.uint8)


def draw_label(indices: np.ndarray, source: Path) -> np.ndarray:
    """Return classes 0 to 30 and 255, ``(H, 400)`` uint8, of a label file.

    Args:
        indices: Class of each tag, from :func:`class_indices`.
        source: MATLAB file with the tag of each pixel.

    Raises:
        UserError: The file is damaged or contains an unknown tag.
    """
    with variables_of(source, _KIND) as content:
        labels = indices[content['groundtruth']]
    return shrunk(labels, WIDTH, cv2.INTER_NEAREST)


def convert(workspace: Workspace) -> None:
    """Write ``images/{train,val,test}`` and ``labels/{train,val,test}``."""
    workspace.unpack(ARCHIVE, _WANTED, 'original')
    original = workspace.out / 'original'
    annotations, photographs = original / 'annotations' / 'pixel-level', original / 'photos'
    splits = read_splits('clothing')
    # Images and labels, so that a missing image or label is noticed.
    names = {path.stem for path in (*annotations.glob('*.mat'), *photographs.glob('*.jpg'))}
    workspace.write_pairs(
        partial(draw_label, class_indices(original / 'label_list.mat')),
        [
            (
                f'{splits.get(name, "test")}/{name}',
                photographs / f'{name}.jpg',
                annotations / f'{name}.mat',
            )
            for name in sorted(names)
        ],
        WIDTH,
    )


CONVERTER = Converter(
    'Clothing Co-Parsing', {'encnet_r18_clothing': (583, 133)}, (ARCHIVE,), convert
)
