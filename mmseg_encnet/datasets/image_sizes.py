"""The sizes of images and labels, read from the headers of their files before they are decoded.

A file of a few hundred bytes can claim a gigapixel. Everything that decodes a file from elsewhere
checks its size here first; see ``docs/security.md``.
"""

from __future__ import annotations

import io
import math
import re
import struct
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from mmengine import fileio
from PIL import Image

from mmseg_encnet.errors import UserError
from mmseg_encnet.values import MAX_PIXELS, brief

# Pixels with more bytes than four channels of 16 bits count in proportion.
_BYTES = 8
_TIFF_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 8: 2, 9: 4, 16: 8}
_TIFF_FORMATS = {1: 'B', 2: 'B', 3: 'H', 4: 'I', 6: 'b', 8: 'h', 9: 'i', 16: 'Q'}
# Formats that OpenCV decodes and Pillow does not.
_RADIANCE = re.compile(rb'\n[-+]Y (\d+) [-+]X (\d+)\n')
_PAM = {key: re.compile(rb'^%s (\d+)' % key.encode(), re.MULTILINE) for key in ('HEIGHT', 'WIDTH')}


class ImageSize(NamedTuple):
    """The size of an image, as its header states it.

    Attributes:
        height, width: In pixels.
        pixel_bytes: Bytes per pixel once decoded; at most 8 counts as 8.
    """

    height: int
    width: int
    pixel_bytes: float = _BYTES

    @property
    def pixels(self) -> int:
        """Number of pixels, to compare to a limit."""
        return math.ceil(self.height * self.width * max(1, self.pixel_bytes / _BYTES))


def stored_size(path: str | Path | bytes, backend: str | None = None) -> ImageSize | None:
    """Return the size of an image or label file from its header, without decoding it.

    Args:
        path: The file, any path that the toolbox's file backends can open, or the content of a
            file.
        backend: Decoder, ``imdecode_backend`` of the toolbox's loaders; ``tifffile`` decodes all
            images of a TIFF file, the others the first one.

    Returns:
        None if the header is not that of a known format; then the file is most likely no image.
    """
    try:
        if isinstance(path, bytes):
            return _size_in(io.BytesIO(path), backend)
        if Path(path).is_file():
            with Path(path).open('rb') as file:
                return _size_in(file, backend)
        return _size_in(io.BytesIO(fileio.get(str(path))), backend)
    except Exception:
        # The decoder will report it.
        return None


def check_stored_size(
    path: str | Path,
    max_pixels: int,
    kind: str = 'image',
    backend: str | None = None,
    remedy: str = 'raise max_pixels',
) -> None:
    """Check the size of an image or label file before it is decoded.

    Args:
        path: As in :func:`stored_size`.
        max_pixels: Largest number of pixels to accept.
        kind: ``'image'`` or ``'label'``.
        backend: As in :func:`stored_size`.
        remedy: How the user can accept larger files.

    Raises:
        UserError: The file claims more pixels.
    """
    size = stored_size(path, backend)
    if size is not None:
        check_pixels(f'{kind} file {path}', size, max_pixels, remedy)


def check_pixels(
    subject: str, size: ImageSize, max_pixels: int, remedy: str = 'raise max_pixels'
) -> None:
    """Check the size of an image; see :func:`check_stored_size`.

    Raises:
        UserError: The image has more pixels than the limit.
    """
    problem = excess(size, max_pixels)
    if problem is not None:
        raise UserError(f'{subject} {problem}; shrink it, or {remedy}.')
    # Pillow, which decodes labels, has its own limit, which would refuse what is accepted here.
    if Image.MAX_IMAGE_PIXELS is not None and size.pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels


def excess(size: ImageSize, max_pixels: int = MAX_PIXELS) -> str | None:
    """Return why an image is too large, starting with a verb, or None if it is not."""
    if size.pixels <= max_pixels:
        return None
    deep = f' of {size.pixel_bytes:.0f} bytes' * (size.pixel_bytes > _BYTES)
    return (
        f'has {brief(size.height)}x{brief(size.width)} pixels{deep} (height x width), which '
        f'exceeds the limit of {max_pixels:,} pixels'
    )


def open_image(path: str | Path, max_pixels: int = MAX_PIXELS, kind: str = 'image') -> Image.Image:
    """Open an image with Pillow as ``PIL.Image.open`` does, after checking its size.

    Raises:
        UserError: The file claims too many pixels.
    """
    check_stored_size(path, max_pixels, kind, remedy='leave it out')
    # From memory: reading a file, Pillow allocates whatever size a part of it claims to have.
    return Image.open(io.BytesIO(Path(path).read_bytes()))


def open_header(file: IO[bytes]) -> Image.Image | None:
    """Open an image with Pillow to read its header, whatever its size, without a warning.

    Returns:
        None if Pillow does not know the format.
    """
    Image.init()
    file.seek(0)
    start = file.read(16)
    for name in Image.ID:
        factory, accept = Image.OPEN[name]
        try:
            if accept is not None and accept(start) is not True:
                continue
            file.seek(0)
            return factory(file, '')
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            # Damaged headers make the plugins fail in many ways.
            continue
    return None


def _size_in(file: IO[bytes], backend: str | None) -> ImageSize | None:
    start = file.read(4096)
    if start.startswith(b'\x93NUMPY'):
        return _array(file)
    if backend == 'tifffile':
        return _whole_series(file)
    if start[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        return _first_directory(file, '<' if start[:2] == b'II' else '>', 43 in start[2:4])
    if start.startswith(b'#?') and (match := _RADIANCE.search(start)):
        return ImageSize(int(match[1]), int(match[2]), 12)
    if start.startswith(b'P7\n'):
        return ImageSize(*(int(_PAM[key].search(start)[1]) for key in ('HEIGHT', 'WIDTH')))
    if start[:4] == b'RIFF' and start[8:12] == b'WEBP':
        return _webp(start)
    if start[:3] == b'GIF':
        width, height = struct.unpack_from('<HH', start, 6)
        return ImageSize(height, width)
    image = open_header(file)
    return None if image is None else ImageSize(image.height, image.width)


def _array(file: IO[bytes]) -> ImageSize:
    file.seek(0)
    read = np.lib.format.read_array_header_1_0
    if np.lib.format.read_magic(file) != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    height, width = (*shape, 1, 1)[:2]
    return ImageSize(height, width, math.prod(shape[2:]) * dtype.itemsize)


def _webp(start: bytes) -> ImageSize | None:
    """Return the size of a WebP file, of which Pillow needs the whole."""
    if len(start) < 30:
        return None
    if start[12:16] == b'VP8X':
        width, height = (1 + int.from_bytes(start[at : at + 3], 'little') for at in (24, 27))
    elif start[12:16] == b'VP8L':
        bits = int.from_bytes(start[21:25], 'little')
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif start[12:16] == b'VP8 ':
        width, height = (side & 0x3FFF for side in struct.unpack_from('<HH', start, 26))
    else:
        return None
    return ImageSize(height, width)


def _first_directory(file: IO[bytes], order: str, big: bool) -> ImageSize | None:
    """Return the size in the first directory of a TIFF file, with any number of channels.

    Pillow refuses channels that it has no mode for, and the package that does not is optional.
    """
    file.seek(8 if big else 4)
    (offset,) = struct.unpack(order + ('Q' if big else 'I'), file.read(8 if big else 4))
    file.seek(offset)
    (count,) = struct.unpack(order + ('Q' if big else 'H'), file.read(8 if big else 2))
    length, field = (20, 8) if big else (12, 4)
    tags: dict[int, int] = {}
    for _ in range(min(count, 4096)):
        entry = file.read(length)
        tag, kind, number = struct.unpack_from(order + ('HHQ' if big else 'HHI'), entry)
        if tag not in (256, 257, 258, 277) or kind not in _TIFF_FORMATS or not number:
            continue
        value = entry[-field:]
        if number * _TIFF_BYTES[kind] > field:
            here = file.tell()
            file.seek(struct.unpack(order + ('Q' if big else 'I'), value)[0])
            value = file.read(_TIFF_BYTES[kind])
            file.seek(here)
        (tags[tag],) = struct.unpack_from(order + _TIFF_FORMATS[kind], value)
    if 256 not in tags or 257 not in tags:
        return None
    return ImageSize(tags[257], tags[256], tags.get(277, 1) * tags.get(258, 1) / 8)


def _whole_series(file: Any) -> ImageSize | None:
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file) as content:
        series = content.series[0]
        page = series.keyframe
        total = series.size * series.dtype.itemsize
        return ImageSize(
            page.imagelength, page.imagewidth, total / (page.imagelength * page.imagewidth)
        )
