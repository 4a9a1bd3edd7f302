"""Write images: linked where their pixels can stay as they are, else without orientation."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from mmseg_encnet.datasets.image_sizes import stored_size
from mmseg_encnet.datasets.loading import IMAGE_SUFFIXES
from mmseg_encnet.datasets.orientation import exif_orientation
from mmseg_encnet.errors import UserError
from mmseg_encnet.extras import require
from mmseg_encnet.workbench.converters.own.formats.labelme import embedded_image
from mmseg_encnet.workbench.converters.own.problems import FileProblem, opened, reading
from mmseg_encnet.workbench.converters.photographs import JPEG_OPTIONS

_QUARTER_TURNS = (5, 6, 7, 8)
_ALIASES = {'.jpeg': '.jpg', '.tiff': '.tif'}
_TIFF = ('.tif', '.tiff')
# Bytes per pixel of 1-bit, grey and RGB images.
_PHOTOGRAPHS = (1 / 8, 1, 3)


@dataclass(frozen=True)
class Bands:
    """The content of a TIFF file that is no 8-bit photograph.

    Attributes:
        channels: Number of channels.
        dtype: Data type of the values.
    """

    channels: int
    dtype: str


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image says.

    Attributes:
        size: Height and width of the stored pixels.
        orientation: EXIF orientation from 1 (upright) to 8.
        bands: What a TIFF file contains, None for photographs.
    """

    size: tuple[int, int]
    orientation: int
    bands: Bands | None = None

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width of the upright photograph."""
        return self.size[::-1] if self.orientation in _QUARTER_TURNS else self.size


def read_header(path: Path) -> ImageHeader:
    """Read the header of an image, or of the image in a LabelMe file.

    Raises:
        FileProblem: It cannot be read.
    """
    if path.suffix.lower() == '.json':
        image = embedded_image(path)
        with reading(path):
            turned = int(image.getexif().get(0x0112, 1))
        return ImageHeader((image.height, image.width), turned)
    bands = _read_bands(path) if path.suffix.lower() in _TIFF else None
    if bands is not None:
        # Pillow has no mode for most of them.
        size = stored_size(path)
        if size is not None:
            return ImageHeader((size.height, size.width), 1, bands)
    with opened(path) as image:
        return ImageHeader((image.height, image.width), exif_orientation(str(path)))


def common_bands(headers: Mapping[Path, ImageHeader]) -> Bands | None:
    """Return what all images contain, None for photographs.

    Args:
        headers: Headers by image.

    Raises:
        UserError: The images differ.
    """
    first = next(iter(headers))
    for path, header in headers.items():
        if header.bands != headers[first].bands:
            raise UserError(
                f'image {path} has {_described(header.bands)}, but {first} has '
                f'{_described(headers[first].bands)}; convert them to the same channels and type.'
            )
    return headers[first].bands


def _described(bands: Bands | None) -> str:
    if bands is None:
        return 'colours of 8 bits'
    return f'{bands.channels} channel{"s" * (bands.channels > 1)} of {bands.dtype}'


def _read_bands(path: Path) -> Bands | None:
    """Return the content of a TIFF file, None for photographs of 8 bits."""
    size = stored_size(path)
    if size is None or size.pixel_bytes in _PHOTOGRAPHS:
        return None
    tifffile = require('tifffile', 'tiff')
    # It raises a class of its own, a ValueError, for broken files.
    with reading(path), tifffile.TiffFile(path) as file:
        series = file.series[0]
        samples = math.prod(series.shape) // (size.height * size.width)
        transparent = samples == 4 and any(int(extra) for extra in series.keyframe.extrasamples)
        if str(series.dtype) == 'uint8' and (samples in (1, 3) or transparent):
            return None
        return Bands(samples, str(series.dtype))


def common_suffix(paths: Sequence[Path]) -> str:
    """Return the suffix with which images are written: theirs, or ``.png`` if they differ."""
    suffixes = {_suffix(path) for path in paths}
    only = suffixes.pop() if len(suffixes) == 1 else '.png'
    return only if only in IMAGE_SUFFIXES else '.png'


def follows_stored_pixels(
    path: Path,
    header: ImageHeader,
    label_size: tuple[int, int],
    stated: str | None,
    tool_is_upright: bool,
) -> bool:
    """Return whether a label follows the stored pixels instead of the upright photograph.

    Raises:
        FileProblem: The label has another size, or nothing says what it follows.
    """
    sizes = {'upright': header.upright_size, 'stored': header.size}
    if header.orientation == 1:
        fitting = ['upright'] if label_size == header.size else []
    else:
        wanted = [stated] if stated else ['upright'] if tool_is_upright else list(sizes)
        fitting = [name for name in wanted if sizes[name] == label_size]
        if not fitting and not stated and tool_is_upright:
            fitting = [name for name in sizes if sizes[name] == label_size]
    if not fitting:
        height, width = header.upright_size
        raise FileProblem(
            path,
            f'its label has {label_size[1]} x {label_size[0]} pixels, expected {width} x {height}'
            ' as in the image',
        )
    if len(fitting) > 1:
        raise FileProblem(
            path,
            f'has the EXIF orientation {header.orientation}, which its label may not follow; state '
            'it with --orientation upright or stored',
        )
    return fitting[0] == 'stored' and header.orientation != 1


def place_image(source: Path, target: Path, header: ImageHeader, stored: bool, copy: bool) -> bool:
    """Link or copy an image, or rewrite it if its suffix or orientation changes.

    Args:
        source: Image, or LabelMe file that contains it.
        target: File to write.
        header: Its header.
        stored: Whether its stored pixels are wanted instead of the upright photograph.
        copy: Whether to copy instead of linking.

    Returns:
        Whether the image was rewritten.

    Raises:
        FileProblem: It cannot be read.
    """
    embedded = source.suffix.lower() == '.json'
    if not embedded and header.orientation == 1 and _suffix(source) == target.suffix:
        # Of a link, the file behind it.
        source = source.resolve()
        if not copy:
            # Fails on another file system, or one without hard links.
            with suppress(OSError):
                os.link(source, target)
                return False
        shutil.copyfile(source, target)
        return False
    if embedded:
        image = embedded_image(source)
    else:
        with opened(source) as file:
            file.load()
            image = file
    with reading(source):
        if header.orientation != 1 and not stored:
            image = ImageOps.exif_transpose(image)
        if image.mode not in ('L', 'I;16', 'RGB'):
            image = image.convert('RGB')
        # Without the orientation, which no longer applies.
        clean = Image.frombytes(image.mode, image.size, image.tobytes())
        clean.save(target, **(JPEG_OPTIONS if target.suffix == '.jpg' else {}))
    return True


def _suffix(path: Path) -> str:
    """Return the suffix with which an image is written; images in LabelMe files become PNG."""
    suffix = path.suffix.lower()
    return '.png' if suffix == '.json' else _ALIASES.get(suffix, suffix)
