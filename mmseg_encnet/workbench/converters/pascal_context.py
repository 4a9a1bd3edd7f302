"""Pascal Context: VOC 2010 images with the labels of PASCAL in Detail, 59 classes and background.

Of ``trainval_merged.json``, the entries ``images`` (``image_id``, ``file_name``, ``height``,
``width``, ``phase``) and ``annos_segmentation`` (``id``, ``image_id``, ``category_id``,
``iscrowd``, ``segmentation``, a COCO run-length mask) are used. Labels are drawn as in the
``detail`` package: all masks, crowds included, are painted in the order of the file, later ones
over earlier ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmseg_encnet.errors import UserError, type_and_first_line
from mmseg_encnet.values import brief
from mmseg_encnet.workbench.converters.coco_format import (
    decode_run_length,
    read_annotations,
    read_image,
)
from mmseg_encnet.workbench.converters.command import Converter, Workspace
from mmseg_encnet.workbench.converters.download import PublishedFile
from mmseg_encnet.workbench.converters.labels import LabelTask

# Oxford's host has moved to thor.robots.ox.ac.uk; the old one was reported blocked in January 2026
# (pytorch/vision#9335). The last address is a copy by a user of Hugging Face.
IMAGES = PublishedFile(
    'http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar',
    digest='sha1:bf9985e9f2b064752bf6bd654d89f017c76c395a',
    mirrors=(
        'https://thor.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar',
        'https://huggingface.co/datasets/JimmyUnleashed/Pascal_VOC/resolve/main/'
        'VOCtrainval_03-May-2010.tar',
    ),
)
ANNOTATIONS = PublishedFile(
    'https://codalabuser.blob.core.windows.net/public/trainval_merged.json',
    digest='sha1:169325d9f7e9047537fedca7b04de4dddf10b881',
)

# Pascal Context numbers 459 categories alphabetically. These are the 59 evaluated ones: the n-th is
# class n, and all other categories are background, class 0.
CATEGORIES = (
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113,
    115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326,
    347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip
_SEGMENT_KEYS = ('id', 'image_id', 'category_id', 'segmentation')
_NUM_CATEGORIES = 459
_CLASS_OF = np.zeros(_NUM_CATEGORIES + 1, np.uint8)
_CLASS_OF[list(CATEGORIES)] = np.arange(1, len(CATEGORIES) + 1)


def draw_label(source: tuple[dict, list[dict]]) -> np.ndarray:
    """Return the label of an image, ``(H, W)`` uint8: 0 is background, 1 to 59 are classes.

    Args:
        source: An entry of ``images`` and its entries of ``annos_segmentation``, in file order.

    Raises:
        UserError: A category or mask is invalid.
    """
    image, segments = source
    label = np.zeros((image['height'], image['width']), np.uint8)
    for segment in segments:
        where = f'segment {brief(segment["id"])} of {image["file_name"]} in {ANNOTATIONS.name}'
        category = segment['category_id']
        if type(category) is not int or not 0 <= category <= _NUM_CATEGORIES:
            raise UserError(
                f'{where} has category {brief(category)}, expected 1 to {_NUM_CATEGORIES}; '
                'fetch the file again.'
            )
        label[_decode(segment['segmentation'], label.shape, where)] = _CLASS_OF[category]
    return label


def convert(workspace: Workspace) -> None:
    """Write ``SegmentationClassContext`` and the two lists next to the images of VOC 2010."""
    workspace.unpack(IMAGES, 'VOCdevkit/VOC2010/(JPEGImages/.*)')
    images, segments = read_annotations(
        workspace.file(ANNOTATIONS),
        _images_and_segments,
        'PASCAL in Detail',
        f'delete it and fetch {ANNOTATIONS.url}.',
    )
    labels = workspace.out / 'SegmentationClassContext'
    tasks = [
        LabelTask(
            workspace.out / 'JPEGImages' / image['file_name'],
            (labels / image['file_name']).with_suffix('.png'),
            (image, segments[image['image_id']]),
        )
        for image in images
    ]
    workspace.write_labels(draw_label, tasks)
    for phase in ('train', 'val'):
        workspace.write_list(
            f'ImageSets/SegmentationContext/{phase}.txt',
            sorted(Path(image['file_name']).stem for image in images if image['phase'] == phase),
        )


CONVERTER = Converter(
    'Pascal Context',
    {'encnet_r50_pcontext60': (4996, 5104), 'encnet_r50_pcontext': (4996, 5104)},
    (IMAGES, ANNOTATIONS),
    convert,
)


def _images_and_segments(
    content: Any,
) -> tuple[list[dict[str, Any]], dict[Any, list[dict[str, Any]]]]:
    """Return the images of train and val, and the segments of each image by id, in file order."""
    # As in the detail package, a later entry replaces an earlier one with the same id.
    images = {image['image_id']: image for image in content['images']}
    # Leaves out the parts of objects, which are most of the file.
    segments = {
        segment['id']: {key: segment[key] for key in _SEGMENT_KEYS}
        for segment in content['annos_segmentation']
    }
    by_image: dict[Any, list[dict[str, Any]]] = {key: [] for key in images}
    for segment in segments.values():
        if segment['image_id'] not in images:
            raise UserError(
                f'has segment {brief(segment["id"])} for image {brief(segment["image_id"])}, which '
                'it does not list'
            )
        by_image[segment['image_id']].append(segment)
    used = [image for image in images.values() if image['phase'] in ('train', 'val')]
    for image in used:
        read_image(image)
    return used, by_image


def _decode(segmentation: Any, shape: tuple[int, int], where: str) -> np.ndarray:
    """Return the mask, ``(H, W)`` bool, of the entry ``segmentation``."""
    try:
        return decode_run_length(segmentation, shape)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f'{where} has no run-length mask ({type_and_first_line(error)}); fetch the file again.'
        ) from error
