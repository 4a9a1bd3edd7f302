"""Images as a pipeline loads them, and how to show them.

Every tool that shows an image beside labels reads it with the pipeline of the model: only then do
both have the same orientation, size and channels.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmseg_encnet.datasets.image_sizes import (
    MAX_PIXELS,
    ImageSize,
    check_pixels,
    check_stored_size,
)
from mmseg_encnet.errors import UserError
from mmseg_encnet.extras import require

Step = Callable[[dict[str, Any]], dict[str, Any]]

_SPECIAL = (
    (stat.S_ISFIFO, 'a named pipe (FIFO)'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISCHR, 'a device'),
    (stat.S_ISBLK, 'a device'),
)
IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')


def check_regular(path: str | Path) -> None:
    """Check that a path is not a pipe, socket or device, whose reading might never end.

    Paths that do not exist, and addresses of the toolbox's file backends, are left to the reader.

    Raises:
        UserError: It is.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except (OSError, ValueError):
        return
    kind = next((kind for test, kind in _SPECIAL if test(mode)), None)
    if kind is not None:
        raise UserError(f'{path} is {kind}, expected a regular file; remove it or replace it.')


def check_regular_files(folder: str | Path, suffixes: Sequence[str]) -> None:
    """Check a folder for what :func:`check_regular` refuses, which listing its files leaves out.

    Args:
        folder: The folder, with all below it.
        suffixes: Lower-case suffixes of the images in it.

    Raises:
        UserError: It contains a pipe, socket or device with the name of an image.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            # Without a system call for each file.
            if entry.is_dir(follow_symlinks=False):
                check_regular_files(entry.path, suffixes)
            elif entry.name.lower().endswith(tuple(suffixes)) and not entry.is_file(
                follow_symlinks=False
            ):
                check_regular(entry.path)


def read_image(
    path: str,
    steps: Iterable[Step],
    max_pixels: int = MAX_PIXELS,
    remedy: str = 'raise max_pixels',
) -> tuple[dict[str, Any], list[Step]]:
    """Run the steps of a pipeline that load an image.

    Args:
        path: Path of the image, for the toolbox's file backends.
        steps: Transforms of the pipeline.
        max_pixels: Largest number of pixels to accept.
        remedy: How the user can accept larger images, for the error message.

    Returns:
        The results with the pixels ``img``, and the remaining steps.

    Raises:
        UserError: The image has more pixels; most are refused before they are decoded.
    """
    check_regular(path)
    remaining = list(steps)
    check_stored_size(path, max_pixels, backend=image_backend(remaining), remedy=remedy)
    results: dict[str, Any] = dict(img_path=path)
    while 'img' not in results:
        results = remaining.pop(0)(results)
    check_decoded(path, results['img'], max_pixels, remedy)
    return results, remaining


def check_decoded(path: str, pixels: np.ndarray, max_pixels: int, remedy: str) -> None:
    """Check the size of a decoded image, whose header may not have been readable.

    Raises:
        UserError: It has too many pixels.
    """
    height, width = pixels.shape[:2]
    size = ImageSize(height, width, pixels.nbytes / max(height * width, 1))
    check_pixels(f'image file {path}', size, max_pixels, remedy)


def image_backend(steps: Iterable[Any]) -> str | None:
    """Return the decoder with which a pipeline loads images, None if it does not say."""
    for step in steps:
        if 'Annotation' not in type(step).__name__ and hasattr(step, 'imdecode_backend'):
            return step.imdecode_backend
    return None


def read_for_display(path: str, dataset: Any) -> np.ndarray:
    """Return an image of a data set in its original size, as its pipeline loads it.

    Args:
        path: Path of the image.
        dataset: The data set, or a wrapper around data sets that load images alike.

    Returns:
        RGB image ``(H, W, 3)`` uint8, see :func:`displayable`.
    """
    while hasattr(dataset, 'dataset') or hasattr(dataset, 'datasets'):
        dataset = dataset.dataset if hasattr(dataset, 'dataset') else dataset.datasets[0]
    steps = dataset.pipeline.transforms
    limit = getattr(dataset.pipeline, 'max_pixels', MAX_PIXELS)
    return displayable(read_image(path, steps, limit)[0]['img'], in_rgb_order(steps))


def in_rgb_order(steps: Sequence[Step]) -> bool:
    """Return whether a pipeline loads channels in the order of the file, red first.

    The toolbox loads images as BGR, except for arrays and what tifffile or GDAL decode.
    """
    loader = next((step for step in steps if 'Load' in type(step).__name__), None)
    if loader is None:
        return False
    if type(loader).__name__ == 'LoadImageFromNpyFile':
        return True
    return getattr(loader, 'imdecode_backend', 'tifffile') == 'tifffile'


def displayable(image: np.ndarray, rgb_order: bool = False) -> np.ndarray:
    """Return the pixels of an image for display.

    Args:
        image: ``(H, W)`` or ``(H, W, C)``. With one or two channels the first is shown in grey,
            with more the first three. Values outside 0 to 255, as in images of 16 bits, are
            stretched from their 2nd to their 98th percentile.
        rgb_order: Whether red comes first instead of blue.

    Returns:
        RGB image ``(H, W, 3)`` uint8.
    """
    image = np.atleast_3d(image)
    shown = image[..., :3] if image.shape[2] > 2 else image[..., :1].repeat(3, axis=2)
    if not rgb_order:
        shown = shown[..., ::-1]
    if shown.dtype != np.uint8:
        shown = np.rint(np.nan_to_num(shown.astype(np.float32)))
        if shown.size and (shown.min() < 0 or shown.max() > 255):
            low, high = np.percentile(shown, (2, 98))
            shown = (shown - low) * (255 / max(high - low, 1e-6))
        shown = shown.clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(shown)


def check_loader(steps: Iterable[Mapping[str, Any]]) -> None:
    """Check that the package that decodes the images of a pipeline is installed.

    Args:
        steps: Configs of the pipeline's transforms.

    Raises:
        UserError: It is not.
    """
    for step in steps:
        kind = str(step.get('type'))
        if step.get('imdecode_backend') == 'tifffile' or kind.endswith('LoadImageFromTIFF'):
            require('tifffile', 'tiff')
