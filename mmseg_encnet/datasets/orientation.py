"""The orientation in the EXIF data of photographs, which label files do not have.

The toolbox rotates an image according to its EXIF data unless ``color_type`` ends in
``ignore_orientation`` or is ``unchanged``. Labels are drawn on the upright image or on the stored
pixels. A quarter turn changes the size of the image; the other orientations do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmseg.registry import TRANSFORMS

from mmseg_encnet.datasets.image_sizes import open_header
from mmseg_encnet.datasets.wrappers import leaf_datasets
from mmseg_encnet.errors import UserError

_TAG = 0x0112
# Orientations that keep the size.
_SAME_SIZE = {2: 'mirrored', 3: 'rotated by 180 degrees', 4: 'upside down'}
_MOST = 1000
_QUARTER_TURNS = (5, 6, 7, 8)


def exif_orientation(path: str | None) -> int:
    """Return the EXIF orientation of a local file from 1 (upright) to 8; 1 if it has none."""
    if path is None or not Path(path).is_file():
        return 1
    try:
        with Path(path).open('rb') as file:
            image = open_header(file)
            return 1 if image is None else int(image.getexif().get(_TAG, 1))
    except Exception:
        # Damaged EXIF data, for which Pillow has many exceptions, has no orientation.
        return 1


def loaded_size(path: str | None, steps: Iterable[Any]) -> tuple[int, int] | None:
    """Return height and width with which a pipeline loads an image, from the header of its file.

    Args:
        path: The image.
        steps: Transforms of the pipeline.

    Returns:
        None for files and loaders whose pixels may have another size than the header says.
    """
    loader = next((step for step in steps if isinstance(step, LoadImageFromFile)), None)
    if loader is None or loader.imdecode_backend == 'tifffile':
        return None
    if path is None or not Path(path).is_file():
        return None
    try:
        with Path(path).open('rb') as file:
            image = open_header(file)
            if image is None:
                return None
            width, height = image.size
            jpeg = image.format == 'JPEG'
    except (OSError, ValueError, SyntaxError):
        return None
    if exif_orientation(path) not in _QUARTER_TURNS:
        return height, width
    # Decoders differ in the other formats whose orientation they know.
    if not jpeg:
        return None
    stored = loader.color_type == 'unchanged' or loader.color_type.endswith('ignore_orientation')
    return (height, width) if stored else (width, height)


def says_orientation(pipeline: Any) -> bool:
    """Return whether a pipeline's config states what its images' EXIF orientation means.

    It does if its loader has a ``color_type``, or does not decode photographs.
    """
    for step in pipeline or ():
        if not isinstance(step, Mapping) or 'Load' not in str(step.get('type')):
            continue
        kind = TRANSFORMS.get(step['type']) if isinstance(step['type'], str) else step['type']
        return kind is not LoadImageFromFile or 'color_type' in step
    return True


def check_orientation(image: str | None) -> None:
    """Check that the EXIF data of a labelled image leave no doubt about its label.

    Raises:
        UserError: The EXIF orientation rotates or mirrors the image and keeps its size.
    """
    orientation = exif_orientation(image)
    if orientation not in _SAME_SIZE:
        return
    raise UserError(
        f'image file {image} is {_SAME_SIZE[orientation]} according to its EXIF orientation '
        f'{orientation}, but its label may not be; set color_type of LoadImageFromFile in '
        "every pipeline: 'color' if labels are drawn on the upright image, "
        "'color_ignore_orientation' if they follow the stored pixels."
    )


def check_orientations(dataset: Any) -> None:
    """Check labelled images of a data set or wrapper as :func:`check_orientation` does.

    At most 1000 images are checked, chosen at random with a fixed seed.

    Raises:
        UserError: The EXIF orientation of an image keeps its size, and the config does not state
            whether labels follow it.
    """
    for leaf in leaf_datasets(dataset):
        if getattr(leaf.pipeline, 'orientation_stated', True):
            continue
        for index in np.random.default_rng(0).permutation(len(leaf))[:_MOST].tolist():
            sample = leaf.get_data_info(index)
            if 'seg_map_path' in sample:
                check_orientation(sample.get('img_path'))


def quarter_turn(image: str | None) -> str:
    """Return the remedy for a label of another size if the image is rotated by 90 degrees."""
    orientation = exif_orientation(image)
    if orientation not in _QUARTER_TURNS:
        return 'convert it again.'
    return (
        f'the image has the EXIF orientation {orientation}: if labels follow the stored pixels, '
        "set color_type='color_ignore_orientation' of LoadImageFromFile in every pipeline."
    )
