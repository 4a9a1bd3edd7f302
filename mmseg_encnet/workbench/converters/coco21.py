"""COCO 2017 with the 21 classes of VOC, on which PyTorch-Encoding trains before VOC.

The rule follows its ``encoding/datasets/coco.py``. A pixel belongs to the instance of VOC's twenty
classes, crowds included, that comes first in the file; all other pixels are background and none is
ignored. Images with at most 1,000 labelled pixels are not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmseg_encnet.errors import UserError, type_and_first_line
from mmseg_encnet.extras import require
from mmseg_encnet.values import brief
from mmseg_encnet.workbench.converters.archives import START_OVER
from mmseg_encnet.workbench.converters.coco_format import (
    decode_segmentation,
    read_annotations,
    read_image,
)
from mmseg_encnet.workbench.converters.cocostuff164k import BUCKET, TRAIN_IMAGES, VAL_IMAGES
from mmseg_encnet.workbench.converters.command import Converter, Workspace
from mmseg_encnet.workbench.converters.download import PublishedFile
from mmseg_encnet.workbench.converters.labels import LabelTask, read_label, run_parallel

ANNOTATIONS = PublishedFile(
    'http://images.cocodataset.org/annotations/annotations_trainval2017.zip',
    digest='sha1:8551ee4bb5860311e79dace7e79cb91e432e78b3',
    mirrors=(f'{BUCKET}annotations/annotations_trainval2017.zip',),
)
SPLITS = ('train2017', 'val2017')
# Name, height and width of an image, and the class and mask of each instance.
Source = tuple[str, tuple[int, int], list[tuple[int, Any]]]

# COCO's names of the classes of VOC, in VOC's order. The first has index 1.
CLASSES = (
    'airplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow',
    'dining table', 'dog', 'horse', 'motorcycle', 'person', 'potted plant', 'sheep', 'couch',
    'train', 'tv',
)  # fmt: skip
MIN_LABELLED = 1_000


def draw_label(source: Source) -> np.ndarray:
    """Return the label of an image, ``(H, W)`` uint8, 0 (background) to 20.

    COCO's masks are polygons, or run lengths for crowds.

    Raises:
        UserError: A mask is neither of the two.
    """
    name, shape, instances = source
    label = np.zeros(shape, np.uint8)
    for index, segmentation in instances:
        mask = _decode(segmentation, shape, name)
        label[mask & (label == 0)] = index
    return label


def convert(workspace: Workspace) -> None:
    """Write ``voc21/{train2017,val2017}`` and next to each folder the list of images to use."""
    # Fails before hours of work.
    require('pycocotools.mask', 'data')
    for archive in (TRAIN_IMAGES, VAL_IMAGES):
        workspace.unpack(archive)
    files = {split: f'annotations/instances_{split}.json' for split in SPLITS}
    workspace.unpack(ANNOTATIONS, f'({"|".join(files.values())})')
    for split, path in files.items():
        labels = workspace.out / 'voc21' / split
        tasks = [
            LabelTask(
                workspace.out / split / f'{source[0]}.jpg', labels / f'{source[0]}.png', source
            )
            for source in read_annotations(
                workspace.out / path, _sources, 'COCO', f'delete it, {START_OVER}'
            )
        ]
        workspace.write_labels(draw_label, tasks)
        names = [
            path.stem
            for path, used in run_parallel(_is_used, [task.label for task in tasks], workspace.jobs)
            if used
        ]
        workspace.write_list(f'voc21/{split}.txt', sorted(names))
        print(
            f'{split}: {len(names):,} of {len(tasks):,} images have more than {MIN_LABELLED:,} '
            'labelled pixels and are listed'
        )


CONVERTER = Converter(
    'COCO with the 21 classes of VOC',
    # The number of images with enough labelled pixels is not published.
    {'encnet_r101_coco21': (None, None)},
    (TRAIN_IMAGES, VAL_IMAGES, ANNOTATIONS),
    convert,
)


def _is_used(label: Path) -> tuple[Path, bool]:
    return label, np.count_nonzero(read_label(label)) > MIN_LABELLED


def _sources(content: Any) -> list[Source]:
    """Return the source of :func:`draw_label` for each image of an ``instances_*.json``."""
    ids = {category['name']: category['id'] for category in content['categories']}
    missing = [name for name in CLASSES if name not in ids]
    if missing:
        raise UserError(f'has no category {missing[0]!r}')
    class_of = dict.fromkeys(ids.values())
    class_of.update({ids[name]: index for index, name in enumerate(CLASSES, 1)})
    sources = {}
    for image in content['images']:
        name, shape = read_image(image)
        sources[image['id']] = (Path(name).stem, shape, [])
    for annotation in content['annotations']:
        where = f'has annotation {brief(annotation["id"])}'
        category, image_id = annotation['category_id'], annotation['image_id']
        if category not in class_of:
            raise UserError(
                f'{where} of category {brief(category)}, which is not among its {len(ids)} '
                'categories'
            )
        if image_id not in sources:
            raise UserError(f'{where} for image {brief(image_id)}, which it does not list')
        if class_of[category]:
            sources[image_id][2].append((class_of[category], annotation['segmentation']))
    return list(sources.values())


def _decode(segmentation: Any, shape: tuple[int, int], name: str) -> np.ndarray:
    """Return the mask, ``(H, W)`` bool, given by polygons or run lengths."""
    try:
        return decode_segmentation(segmentation, shape)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f'{ANNOTATIONS.name} has an invalid mask for {name}.jpg of {shape[1]} x '
            f'{shape[0]} pixels, expected polygons or run lengths '
            f'({type_and_first_line(error)}); {START_OVER}'
        ) from error
