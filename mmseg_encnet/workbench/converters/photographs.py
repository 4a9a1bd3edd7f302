"""Photographs of the small data sets: their splits, and conversion to JPEG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from mmseg_encnet.checkpoints.whole_files import remove_leftovers, write_whole
from mmseg_encnet.workbench.converters.labels import explained, run_parallel

# Full colour resolution, and a quality with losses below camera noise.
_OPTIONS = dict(quality=95, subsampling=0)


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


def write_photographs(
    pairs: Sequence[tuple[Path, Path]], jobs: int, width: int | None = None
) -> None:
    """Write images as JPEG files, each of them atomically; skip those that exist.

    Args:
        pairs: Image to read and file to write.
        jobs: Number of processes.
        width: Width of the written images in pixels; None keeps their sizes.

    Raises:
        UserError: An image is missing or damaged.
    """
    for folder in {target.parent for _, target in pairs}:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    waiting = [pair for pair in pairs if not pair[1].is_file()]
    with tqdm(
        total=len(pairs), initial=len(pairs) - len(waiting), desc='images', unit='img'
    ) as progress:
        for _ in run_parallel(partial(_write_photograph, width), waiting, jobs):
            progress.update()


def read_photograph(path: Path) -> Image.Image:
    """Return an image in RGB.

    Raises:
        UserError: The image is missing or damaged.
    """
    with explained(path), Image.open(path) as image:
        return image.convert('RGB')


def _write_photograph(width: int | None, pair: tuple[Path, Path]) -> None:
    source, target = pair
    image = read_photograph(source)
    if width is not None:
        image = Image.fromarray(shrunk(np.asarray(image), width, cv2.INTER_AREA))
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', **_OPTIONS)
    write_whole(target, buffer.getbuffer())
