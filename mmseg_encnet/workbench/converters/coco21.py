"""COCO 2017 with the 21 classes of VOC: what PyTorch-Encoding trains on before VOC.

The rule is that of its ``encoding/datasets/coco.py``: of the instances of VOC's twenty classes,
crowds too, the one that comes first in the file keeps a pixel; everything else is background, and
nothing is ignored. Only images with more than 1,000 labelled pixels are used.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters import run_length
from mmseg_encnet.workbench.converters.archives import START_OVER
from mmseg_encnet.workbench.converters.cocostuff164k import TRAIN_IMAGES, VAL_IMAGES
from mmseg_encnet.workbench.converters.command import Converter, Workspace
from mmseg_encnet.workbench.converters.download import PublishedFile
from mmseg_encnet.workbench.converters.labels import LabelTask, read_label, run_parallel

ANNOTATIONS = PublishedFile(
    'http://images.cocodataset.org/annotations/annotations_trainval2017.zip',
    digest='sha1:8551ee4bb5860311e79dace7e79cb91e432e78b3',
)
SPLITS = ('train2017', 'val2017')
_ADVICE = f'delete it, {START_OVER}'

# COCO's names for the classes of VOC, in VOC's order, from 1.
CLASSES = (
    'airplane',
    'bicycle',
    'bird',
    'boat',
    'bottle',
    'bus',
    'car',
    'cat',
    'chair',
    'cow',
    'dining table',
    'dog',
    'horse',
    'motorcycle',
    'person',
    'potted plant',
    'sheep',
    'couch',
    'train',
    'tv',
)
MIN_LABELLED = 1_000


def draw_label(source: tuple[str, tuple[int, int], list[tuple[int, Any]]]) -> np.ndarray:
    """The label of an image, ``(H, W)`` uint8, 0 (background) to 20.

    Args:
        source: Name of the image, its height and width, and for each instance its class and its
            mask as COCO has it: polygons, or for crowds run lengths.

    Raises:
        UserError: If a mask is neither.
    """
    name, shape, instances = source
    label = np.zeros(shape, np.uint8)
    for index, segmentation in instances:
        mask = _decode(segmentation, shape, name)
        label[mask & (label == 0)] = index
    return label


def convert(workspace: Workspace) -> None:
    """Write ``voc21/{train2017,val2017}`` and beside each folder the list of images to use."""
    for archive in (TRAIN_IMAGES, VAL_IMAGES):
        workspace.unpack(archive)
    files = {split: f'annotations/instances_{split}.json' for split in SPLITS}
    workspace.unpack(ANNOTATIONS, lambda name: name if name in files.values() else None)
    for split, path in files.items():
        labels = workspace.out / 'voc21' / split
        tasks = [
            LabelTask(
                workspace.out / split / f'{name}.jpg',
                labels / f'{name}.png',
                (name, shape, instances),
            )
            for name, shape, instances in _read_instances(workspace.out / path)
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
    # How many of COCO's images have enough labelled pixels, nobody says.
    {'encnet_r101_coco21': (None, None)},
    (TRAIN_IMAGES, VAL_IMAGES, ANNOTATIONS),
    convert,
)


def _is_used(label: Path) -> tuple[Path, bool]:
    return label, np.count_nonzero(read_label(label)) > MIN_LABELLED


def _read_instances(path: Path) -> list[tuple[str, tuple[int, int], list[tuple[int, Any]]]]:
    """Sources of :func:`draw_label` for all images of an ``instances_*.json``."""
    try:
        with path.open(encoding='utf-8') as file:
            content = json.load(file)
    except FileNotFoundError as error:
        raise UserError(f'{path} is missing; {START_OVER}') from error
    except ValueError as error:
        raise UserError(f'{path} is no complete JSON file ({error}); {_ADVICE}') from error
    try:
        return _sources(content, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{path} is not as COCO writes it ({type(error).__name__}: {error}); {_ADVICE}'
        ) from error


def _sources(content: Any, path: Path) -> list[tuple[str, tuple[int, int], list[tuple[int, Any]]]]:
    ids = {category['name']: category['id'] for category in content['categories']}
    missing = [name for name in CLASSES if name not in ids]
    if missing:
        raise UserError(f'{path} has no category {missing[0]!r}; {_ADVICE}')
    class_of = dict.fromkeys(ids.values())
    class_of.update({ids[name]: index for index, name in enumerate(CLASSES, 1)})
    sources = {}
    for image in content['images']:
        name, shape = image['file_name'], (image['height'], image['width'])
        if Path(name).name != name or not name.endswith('.jpg'):
            raise UserError(
                f'{path} names the image {name!r}, expected the name of a JPEG file; {_ADVICE}'
            )
        if not all(type(side) is int and 0 < side < 100_000 for side in shape):
            raise UserError(
                f'{path} gives {name} a height and width of {shape}, expected pixels; {_ADVICE}'
            )
        sources[image['id']] = (Path(name).stem, shape, [])
    for annotation in content['annotations']:
        where = f'{path} has annotation {annotation["id"]}'
        if annotation['category_id'] not in class_of:
            raise UserError(
                f'{where} of category {annotation["category_id"]}, which is none of '
                f'its {len(ids)} categories; {_ADVICE}'
            )
        if annotation['image_id'] not in sources:
            raise UserError(
                f'{where} for image {annotation["image_id"]}, which it does not list; {_ADVICE}'
            )
        index = class_of[annotation['category_id']]
        if index:
            sources[annotation['image_id']][2].append((index, annotation['segmentation']))
    return list(sources.values())


def _decode(segmentation: Any, shape: tuple[int, int], name: str) -> np.ndarray:
    """The mask, ``(H, W)`` bool, of polygons or run lengths."""
    try:
        if isinstance(segmentation, dict):
            if tuple(segmentation['size']) != shape:
                raise ValueError(f'it is {segmentation["size"]} large')
            return run_length.decode(segmentation['counts'], *shape)
        for polygon in segmentation:
            _check_polygon(polygon, shape)
        # How a polygon's edge falls on pixels is pycocotools' own way.
        return coco_mask.decode(coco_mask.frPyObjects(segmentation, *shape)).any(axis=2)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f'{ANNOTATIONS.name} has for {name}.jpg, {shape[1]} x {shape[0]} pixels '
            'large, a mask that is neither polygons nor run lengths '
            f'({type(error).__name__}: {error}); {START_OVER}'
        ) from error


def _check_polygon(polygon: Any, shape: tuple[int, int]) -> None:
    """Refuse what makes pycocotools take all memory or read beyond its own."""
    corners = np.asarray(polygon, float)
    if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2:
        raise ValueError('a polygon is no list of at least three corners')
    # Not above, so that NaN is refused.
    if not (np.abs(corners) <= 2 * max(shape)).all():
        raise ValueError('a polygon leads far out of the image')
