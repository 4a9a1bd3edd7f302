"""MSRC-21: the Microsoft Research Cambridge object recognition database, version 2.

Two sets of labels exist. The database has its own, images in the colours of the classes with broad
void borders. Malisiewicz and Efros ("Improving Spatial Support for Objects via Multiple
Segmentations", BMVC 2007) published cleaned-up ones, MATLAB files without these borders. Void, and
the two classes with too few examples, horse and mountain, are ignored in both.

The split is this project's own: ``splits/msrc21_train.txt`` lists 318 images for training and
``splits/msrc21_val.txt`` 113 for validation. The remaining 160 of the 591 images are held out.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.archives import START_OVER
from mmseg_encnet.workbench.converters.command import Converter, Workspace
from mmseg_encnet.workbench.converters.download import PublishedFile
from mmseg_encnet.workbench.converters.matlab import variables_of
from mmseg_encnet.workbench.converters.photographs import read_photograph, read_splits

ARCHIVE = PublishedFile(
    'https://download.microsoft.com/download/3/3/9/'
    '339D8A24-47D7-412F-A1E8-1A415BC48A15/msrc_objcategimagedatabase_v2.zip'
)
# Folder of the cleaned-up labels, as their authors name it.
CLEANED = 'newsegmentations_mats'

_IGNORE = 255
_VOID, _HORSE, _MOUNTAIN = (0, 0, 0), (128, 0, 128), (64, 0, 0)
# The cleaned-up labels number void 0, then the classes in their order with horse as the fifth and
# mountain as the eighth.
_CLASS_OF_NUMBER = np.array([_IGNORE, 0, 1, 2, 3, _IGNORE, 4, 5, _IGNORE, *range(6, 21)], np.uint8)
_WANTED = r'(?:[^/]+/)?((?:Images|GroundTruth)/\d+_\d+_s(?:_GT)?\.bmp)'


@functools.cache
def _class_of_colour() -> dict[tuple[int, ...], int]:
    from mmseg_encnet.datasets.msrc21 import MSRC21Dataset

    palette = MSRC21Dataset.METAINFO['palette']
    classes = {tuple(colour): index for index, colour in enumerate(palette)}
    return classes | dict.fromkeys((_VOID, _HORSE, _MOUNTAIN), _IGNORE)


def draw_label(source: Path) -> np.ndarray:
    """Return classes 0 to 20 and 255, ``(H, W)`` uint8, of a label of either kind.

    Args:
        source: BMP file of the database, or MATLAB file of the cleaned-up labels.

    Raises:
        UserError: The file is damaged or contains an unknown colour or class.
    """
    return _draw_segments(source) if source.suffix == '.mat' else _draw_colours(source)


def convert(workspace: Workspace) -> None:
    """Write ``images/{train,val,test}`` and ``labels/{train,val,test}``."""
    workspace.unpack(ARCHIVE, _WANTED, 'original')
    original = workspace.out / 'original'
    cleaned = workspace.given and workspace.given / CLEANED
    pairs = []
    # Images and labels, so that a missing image or label is noticed.
    names = {path.stem.removesuffix('_GT') for path in original.rglob('*.bmp')}
    splits = read_splits('msrc21')
    for name in sorted(names):
        if cleaned and cleaned.is_dir():
            source = cleaned / f'{name}_GT.mat'
        else:
            source = original / 'GroundTruth' / f'{name}_GT.bmp'
        image = original / 'Images' / f'{name}.bmp'
        pairs.append((f'{splits.get(name, "test")}/{name}', image, source))
    workspace.write_pairs(draw_label, pairs)


CONVERTER = Converter('MSRC-21', {'encnet_r18_msrc21': (318, 113)}, (ARCHIVE,), convert)


def _draw_colours(source: Path) -> np.ndarray:
    pixels = np.asarray(read_photograph(source))
    colours, indices = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    classes = np.empty(len(colours), np.uint8)
    for index, colour in enumerate(map(tuple, colours.tolist())):
        if colour not in _class_of_colour():
            raise UserError(
                f'{source} contains the colour {colour}, which is none of the '
                f'{len(_class_of_colour())} of the database; delete it, {START_OVER}'
            )
        classes[index] = _class_of_colour()[colour]
    return classes[indices].reshape(pixels.shape[:2])


def _draw_segments(source: Path) -> np.ndarray:
    """Return the classes of a file with the number of each segment, ``newlabels``, and the segment
    of each pixel from 1 on, ``newseg``; a last segment without a number is void."""
    advice = 'unpack the archive of its authors again.'
    with variables_of(source, f'a label file of {CLEANED}', advice) as content:
        segments, numbers = content['newseg'], [*content['newlabels'].ravel(), 0]
        return _CLASS_OF_NUMBER[np.array(numbers, int)][segments.astype(int) - 1]
