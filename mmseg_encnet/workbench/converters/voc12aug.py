"""Pascal VOC 2012 with the additional labels of SBD, the Semantic Boundaries Dataset.

VOC labels 2,913 images with a void border (255); SBD (Hariharan et al., ICCV 2011) labels 11,355
images of VOC, partly the same ones, in ``.mat`` files. ``SegmentationClassAug`` gets them all, and
VOC's own label where there are two.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.archives import START_OVER
from mmseg_encnet.workbench.converters.command import Converter, Workspace
from mmseg_encnet.workbench.converters.download import PublishedFile
from mmseg_encnet.workbench.converters.labels import LabelTask, read_label

VOC = PublishedFile(
    'http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar',
    digest='sha1:4e443f8a2eca6b1dac8a6c57641b67dd40621a49',
)
SBD = PublishedFile(
    'https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/'
    'benchmark.tgz',
    digest='sha1:7129e0a480c2d6afb02b517bb18ac54283bfaa35',
)

_NUM_CLASSES = 21
_VOID = 255
# Where SBD lies under the folder of the result.
_SBD_FOLDER = 'SBD'


def draw_label(source: Path) -> np.ndarray:
    """The label of an image, ``(H, W)`` uint8: 0 is background, 1 to 20 are classes, 255 is void.

    Args:
        source: SBD's ``.mat`` file, or VOC's PNG file, whose palette indices are the classes.

    Raises:
        UserError: If the file is damaged or holds other values.
    """
    label = _read_mat(source) if source.suffix == '.mat' else read_label(source)
    unknown = label[~np.isin(label, [*range(_NUM_CLASSES), _VOID])]
    if unknown.size:
        raise UserError(
            f'{source} holds the class {unknown[0]}, expected 0 to {_NUM_CLASSES - 1} '
            f'or {_VOID}; delete it, {START_OVER}'
        )
    return label.astype(np.uint8)


def convert(workspace: Workspace) -> None:
    """Write ``SegmentationClassAug`` and the lists of the paper's two training sets."""
    workspace.unpack(VOC, _voc_place)
    workspace.unpack(SBD, _sbd_place)
    out = workspace.out
    voc_train, voc_val = (
        _read_list(out / f'ImageSets/Segmentation/{split}.txt') for split in ('train', 'val')
    )
    sbd = sorted(
        name
        for split in ('train', 'val')
        for name in _read_list(out / _SBD_FOLDER / f'{split}.txt')
    )
    sources = {name: out / _SBD_FOLDER / 'cls' / f'{name}.mat' for name in sbd}
    sources |= {name: out / 'SegmentationClass' / f'{name}.png' for name in voc_train + voc_val}
    workspace.write_labels(
        draw_label,
        [
            LabelTask(
                out / 'JPEGImages' / f'{name}.jpg',
                out / 'SegmentationClassAug' / f'{name}.png',
                source,
            )
            for name, source in sources.items()
        ],
    )
    workspace.write_list('ImageSets/Segmentation/sbd_trainval.txt', sbd)
    workspace.write_list(
        'ImageSets/Segmentation/trainaug.txt', sorted({*voc_train, *sbd}.difference(voc_val))
    )


CONVERTER = Converter(
    'VOC 2012 with the SBD augmentation',
    {
        'encnet_r50_voc12aug': (10582, 1449),
        'encnet_r101_voc12aug_from-coco': (11355, 1449),
        'encnet_r101_voc12_from-aug': (2913, 1449),
    },
    (VOC, SBD),
    convert,
)


def _voc_place(name: str) -> str | None:
    path = name.removeprefix('VOCdevkit/VOC2012/')
    wanted = ('JPEGImages/', 'SegmentationClass/', 'ImageSets/Segmentation/')
    return path if path != name and path.startswith(wanted) else None


def _sbd_place(name: str) -> str | None:
    path = name.removeprefix('benchmark_RELEASE/dataset/')
    wanted = path != name and path.startswith(('cls/', 'train.txt', 'val.txt'))
    return f'{_SBD_FOLDER}/{path}' if wanted else None


def _read_list(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path} cannot be read ({type(error).__name__}); {START_OVER}') from error


def _read_mat(path: Path) -> np.ndarray:
    try:
        with path.open('rb') as content:
            label = loadmat(content)['GTcls'][0, 0]['Segmentation']
    except FileNotFoundError as error:
        raise UserError(f'{path} is missing; {START_OVER}') from error
    except Exception as error:
        # scipy tells damage in many ways.
        raise UserError(
            f'{path} is damaged or no label of SBD ({type(error).__name__}: {error}); '
            f'delete it, {START_OVER}'
        ) from error
    if label.ndim != 2 or label.dtype.kind not in 'uif':
        raise UserError(
            f'{path} holds a label of shape {label.shape} and type {label.dtype}, '
            f'expected two dimensions of numbers; delete it, {START_OVER}'
        )
    return label
