"""Cityscapes: the fine annotations with the 19 evaluated classes.

The publisher's ``*_labelIds.png`` number all 34 labels. Training uses train ids, which number the
evaluated classes; other labels are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.archives import START_OVER
from mmseg_encnet.workbench.converters.command import Converter, Workspace
from mmseg_encnet.workbench.converters.download import PublishedFile
from mmseg_encnet.workbench.converters.labels import LabelTask, read_label


@dataclass(frozen=True)
class _Archive(PublishedFile):
    """Names both archives in its message, so one visit to the publisher's site is enough."""

    @property
    def by_hand(self) -> str:
        return (
            f'download {IMAGES.name} and {ANNOTATIONS.name} into one folder and run again with '
            '--from FOLDER.'
        )


_PAGE = 'https://www.cityscapes-dataset.com/downloads/'
IMAGES = _Archive(_PAGE, name='leftImg8bit_trainvaltest.zip', account=True)
ANNOTATIONS = _Archive(_PAGE, name='gtFine_trainvaltest.zip', account=True)

# Label ids of the classes, in the order of their train ids.
EVALUATED_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_LAST_ID = 33
_TRAIN_ID = np.full(_LAST_ID + 1, 255, np.uint8)
_TRAIN_ID[list(EVALUATED_IDS)] = np.arange(len(EVALUATED_IDS))

_SOURCE, _TARGET = '_gtFine_labelIds.png', '_gtFine_labelTrainIds.png'


def draw_label(label_ids: Path) -> np.ndarray:
    """Return train ids 0 to 18 and 255, ``(H, W)`` uint8, of a ``*_labelIds.png``.

    Raises:
        UserError: The file is damaged or contains an unknown label id.
    """
    ids = read_label(label_ids)
    if ids.max() > _LAST_ID:
        raise UserError(
            f'{label_ids} contains the label id {ids.max()}, expected 0 to {_LAST_ID}; '
            f'delete it, {START_OVER}'
        )
    return _TRAIN_ID[ids]


def convert(workspace: Workspace) -> None:
    """Write ``*_labelTrainIds.png`` of train and val; test annotations are not public."""
    workspace.unpack(IMAGES, lambda name: name if name.startswith('leftImg8bit/') else None)
    workspace.unpack(ANNOTATIONS, _annotation_place)
    root = workspace.out / 'gtFine'
    workspace.write_labels(
        draw_label,
        [
            LabelTask(
                workspace.out
                / 'leftImg8bit'
                / source.relative_to(root).with_name(
                    source.name.replace(_SOURCE, '_leftImg8bit.png')
                ),
                source.with_name(source.name.replace(_SOURCE, _TARGET)),
                source,
            )
            for source in sorted(root.rglob(f'*{_SOURCE}'))
        ],
    )


CONVERTER = Converter(
    'Cityscapes', {'encnet_r50_cityscapes': (2_975, 500)}, (IMAGES, ANNOTATIONS), convert
)


def _annotation_place(name: str) -> str | None:
    wanted = name.startswith(('gtFine/train/', 'gtFine/val/')) and name.endswith(_SOURCE)
    return name if wanted else None
