"""Photographs of the small data sets: their splits, and conversion to JPEG."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mmseg_encnet.workbench.converters.labels import explained, write_image

# Full colour resolution, and a quality with losses below camera noise.
JPEG_OPTIONS = dict(quality=95, subsampling=0)


def read_splits(dataset: str) -> dict[str, str]:
    """Return the split, ``'train'`` or ``'val'``, of each image listed in ``splits/``."""
    folder = resources.files(__package__) / 'splits'
    return {
        name: split
        for split in ('train', 'val')
        for name in (folder / f'{dataset}_{split}.txt').read_text(encoding='ascii').split()
    }


def shrunk(image: np.ndarray, width: int, interpolation: int) -> np.ndarray:
    """Return an image ``(H, W)`` or ``(H, W, 3)`` resized by OpenCV to a width in pixels."""
    height = round(image.shape[0] * width / image.shape[1])
    return cv2.resize(image, (width, height), interpolation=interpolation)


def read_photograph(path: Path) -> Image.Image:
    """Return an image in RGB.

    Raises:
        UserError: The image is missing or damaged.
    """
    from mmseg_encnet.datasets.image_sizes import open_image

    with explained(path), open_image(path) as image:
        return image.convert('RGB')


def write_photograph(item: tuple[Path, Path], width: int | None = None) -> None:
    """Write an image as JPEG file atomically.

    Args:
        item: Path of the JPEG file and path of the image.
        width: Width of the written image in pixels; None keeps its size.

    Raises:
        UserError: The image is missing or damaged.
    """
    target, source = item
    image = read_photograph(source)
    if width is not None:
        image = Image.fromarray(shrunk(np.asarray(image), width, cv2.INTER_AREA))
    write_image(target, image, **JPEG_OPTIONS)
