"""MSRC-21: the Microsoft Research Cambridge object recognition database, version 2.

Labels are images in the colours of the classes. Void, and the two classes that are too rare, horse
and mountain, are ignored. The splits are those of TextonBoost (Shotton et al., ECCV 2006): 276
images to train on, 59 to validate and 256 to test, as the DARWIN library lists them.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from mmseg_encnet.datasets.msrc21 import MSRC21Dataset
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.archives import START_OVER
from mmseg_encnet.workbench.converters.command import Converter, Workspace
from mmseg_encnet.workbench.converters.download import PublishedFile
from mmseg_encnet.workbench.converters.labels import LabelTask
from mmseg_encnet.workbench.converters.photographs import read_photograph, write_photographs

ARCHIVE = PublishedFile(
    'https://download.microsoft.com/download/3/3/9/'
    '339D8A24-47D7-412F-A1E8-1A415BC48A15/msrc_objcategimagedatabase_v2.zip'
)

_IGNORED = {'void': (0, 0, 0), 'horse': (128, 0, 128), 'mountain': (64, 0, 0)}
_CLASS_OF = {tuple(colour): index for index, colour in enumerate(MSRC21Dataset.METAINFO['palette'])}
_CLASS_OF |= dict.fromkeys(_IGNORED.values(), 255)

# Images by scene and number: '1_4_s' is scene 1, number 4. What is in neither is to test on.
TRAIN = {
    1: '4 5 6 7 8 10 11 15 17 19 20 21 22 29',
    2: '1 3 4 5 6 9 12 13 15 19 20 21 23 24',
    3: '1 2 3 4 10 11 14 15 17 19 21 24 25 27',
    4: '2 4 5 6 7 8 9 12 14 17 18 21 25 29',
    5: '1 6 8 9 15 16 18 20 21 22 24 25 26 29',
    6: '1 4 6 8 9 14 17 18 20 23 26 27 28 29',
    7: '1 2 4 6 8 9 11 16 17 18 19 20 27 28',
    8: '1 3 5 9 12 13 14 16 21 23 25 26 28 30',
    9: '4 6 10 11 12 14 16 21 22 23 27 28 29 30',
    10: '5 6 8 9 10 11 13 14 15 20 21 24 27 30 32',
    11: '1 2 10 11 12 16 20 22 23 24 26 27 29 30',
    12: '1 3 4 6 10 11 15 17 18 21 22 24 28 29 32 34',
    13: '3 5 10 12 13 14 15 16 18 19 24 26 28 29',
    14: '1 2 3 8 11 12 19 22 23 25 26 27 29 30',
    15: '4 10 11 12 14 16 17 18 20 21 24',
    16: '3 7 9 11 15 17 18 19 21 22 25 26 28 30',
    17: '1 2 7 9 10 11 13 14 16 18 20 21 22 29',
    18: '2 4 8 9 11 13 15 16 17 18 19 22 25 27',
    19: '2 4 5 6 10 11 14 17 18 19 21 25 26 27',
    20: '3 4 5 7 10 11 12 13 18 21',
}
VAL = {
    1: '2 25 28',
    2: '2 11 27',
    3: '6 23 28',
    4: '11 19 22',
    5: '5 7 30',
    6: '19 21 30',
    7: '13 24 30',
    8: '7 15 20',
    9: '8 15 25',
    10: '19 23 26',
    11: '17 21 28',
    12: '5 20 25',
    13: '6 23 30',
    14: '4 7 24',
    15: '8 9 15',
    16: '2 20 29',
    17: '3 24 27',
    18: '1 10 14',
    19: '1 9 22',
    20: '15 19',
}

_WANTED = re.compile(r'(?:[^/]+/)?((?:Images|GroundTruth)/\d+_\d+_s(?:_GT)?\.bmp)')


def split_of(name: str) -> str:
    """``'train'``, ``'val'`` or ``'test'``, for the name of an image such as ``'1_4_s'``."""
    scene, number, _ = name.split('_')
    for split, numbers in (('train', TRAIN), ('val', VAL)):
        if number in numbers.get(int(scene), '').split():
            return split
    return 'test'


def draw_label(source: Path) -> np.ndarray:
    """Classes, ``(H, W)`` uint8, 0 to 20 and 255, of a label image in colours.

    Raises:
        UserError: If the file is damaged or holds a colour that stands for nothing.
    """
    pixels = np.asarray(read_photograph(source))
    colours, indices = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    classes = np.empty(len(colours), np.uint8)
    for index, colour in enumerate(map(tuple, colours.tolist())):
        if colour not in _CLASS_OF:
            raise UserError(
                f'{source} holds the colour {colour}, which is none of the '
                f'{len(_CLASS_OF)} of the database; delete it, {START_OVER}'
            )
        classes[index] = _CLASS_OF[colour]
    return classes[indices].reshape(pixels.shape[:2])


def convert(workspace: Workspace) -> None:
    """Write ``images/{train,val,test}`` and ``labels/{train,val,test}``."""
    workspace.unpack(ARCHIVE, _place)
    original = workspace.out / 'original'
    photographs, tasks = [], []
    # Of either, so that a missing one is noticed.
    names = {path.stem.removesuffix('_GT') for path in original.rglob('*.bmp')}
    for name in sorted(names):
        split = split_of(name)
        image = workspace.out / 'images' / split / f'{name}.jpg'
        photographs.append((original / 'Images' / f'{name}.bmp', image))
        tasks.append(
            LabelTask(
                image,
                workspace.out / 'labels' / split / f'{name}.png',
                original / 'GroundTruth' / f'{name}_GT.bmp',
            )
        )
    write_photographs(photographs, workspace.jobs)
    workspace.write_labels(draw_label, tasks)


CONVERTER = Converter('MSRC-21', {'encnet_r18_msrc21': (276, 59)}, (ARCHIVE,), convert)


def _place(name: str) -> str | None:
    match = _WANTED.fullmatch(name)
    return match and f'original/{match[1]}'
