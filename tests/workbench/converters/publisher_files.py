"""Small imitations of publishers' image files and archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def jpeg(height: int, width: int, seed: int = 0) -> bytes:
    """Return a JPEG file of noise."""
    rng = np.random.default_rng(seed)
    return _encoded(Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)), 'JPEG')


def png(values: np.ndarray, palette: bool = False) -> bytes:
    """Return a PNG file of ``(H, W[, 3])`` uint8; with a palette, the values are indices."""
    image = Image.fromarray(values)
    if palette:
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    return _encoded(image, 'PNG')


def write_tar(path: Path, members: Mapping[str, bytes], mode: str = 'w') -> None:
    """Write a tar file; ``mode='w:gz'`` compresses it."""
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    """Write a zip file."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()
