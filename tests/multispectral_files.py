"""TIFF images of several bands with labels, drawn from a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

# Blue, green, red, near infrared, and two more: of soil, vegetation and water.
_REFLECTANCE = np.array(
    [
        [900, 1100, 800, 3200, 2000, 1500],
        [1500, 1600, 1900, 2300, 2500, 2600],
        [300, 500, 400, 200, 150, 100],
    ]
)


def draw_fields(root: Path, bands: int = 4, planar: bool = False, count: int = 6) -> np.ndarray:
    """Write ``images/field_N.tif`` (uint16) and ``labels/field_N.png``.

    Args:
        root: Folder.
        bands: Number of bands.
        planar: Whether to store one band after the other.
        count: Number of images.

    Returns:
        All images, ``(count, 48, 56, bands)``.
    """
    rng = np.random.default_rng(0)
    (root / 'images').mkdir(parents=True)
    (root / 'labels').mkdir()
    images = []
    for index in range(count):
        label = np.zeros((48, 56), np.uint8)
        label[16:, rng.integers(10, 40) :] = 1
        label[32:, : rng.integers(10, 40)] = 2
        image = _REFLECTANCE[label][..., :bands] + rng.normal(0, 60, (*label.shape, bands))
        images.append(image.clip(0).astype(np.uint16))
        write_bands(root / 'images' / f'field_{index}.tif', images[-1], planar)
        Image.fromarray(label).save(root / 'labels' / f'field_{index}.png')
    return np.stack(images)


def write_bands(path: Path, image: np.ndarray, planar: bool = False) -> None:
    """Write bands ``(H, W, C)`` pixel by pixel or one after the other."""
    if image.shape[2] == 1:
        tifffile.imwrite(path, image[..., 0], photometric='minisblack')
        return
    tifffile.imwrite(
        path,
        image.transpose(2, 0, 1) if planar else image,
        photometric='minisblack',
        planarconfig='separate' if planar else 'contig',
    )
