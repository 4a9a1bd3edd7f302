"""Write images: linked where their pixels can stay as they are, else without orientation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from mmseg_encnet.datasets.loading import IMAGE_SUFFIXES
from mmseg_encnet.datasets.orientation import exif_orientation
from mmseg_encnet.workbench.converters.own.formats.labelme import embedded_image
from mmseg_encnet.workbench.converters.own.problems import FileProblem, reading

_QUARTER_TURNS = (5, 6, 7, 8)
# Full colour resolution, and a quality with losses below camera noise.
_JPEG = dict(quality=95, subsampling=0)
_ALIASES = {'.jpeg': '.jpg', '.tiff': '.tif'}


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image says.

    Attributes:
        size: Height and width of the stored pixels.
        orientation: EXIF orientation from 1 (upright) to 8.
    """

    size: tuple[int, int]
    orientation: int

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
        return ImageHeader((image.height, image.width), int(image.getexif().get(0x0112, 1)))
    with reading(path), Image.open(path) as image:
        return ImageHeader((image.height, image.width), exif_orientation(str(path)))


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
    """Link or copy an image, or write it anew if its suffix or orientation changes.

    Args:
        source: Image, or LabelMe file that contains it.
        target: File to write.
        header: Its header.
        stored: Whether its stored pixels are wanted instead of the upright photograph.
        copy: Whether to copy instead of linking.

    Returns:
        Whether the image was written anew.

    Raises:
        FileProblem: It cannot be read.
    """
    embedded = source.suffix.lower() == '.json'
    if not embedded and header.orientation == 1 and _suffix(source) == target.suffix:
        # Of a link, the file behind it.
        source = source.resolve()
        if copy:
            shutil.copyfile(source, target)
            return False
        try:
            os.link(source, target)
        except OSError:
            # Another file system, or one without hard links.
            shutil.copyfile(source, target)
        return False
    if embedded:
        image = embedded_image(source)
    else:
        with reading(source), Image.open(source) as file:
            file.load()
            image = file
    with reading(source):
        if header.orientation != 1 and not stored:
            image = ImageOps.exif_transpose(image)
        if image.mode not in ('L', 'I;16', 'RGB'):
            image = image.convert('RGB')
        # Without the orientation, which no longer applies.
        clean = Image.frombytes(image.mode, image.size, image.tobytes())
        clean.save(target, **(_JPEG if target.suffix == '.jpg' else {}))
    return True


def _suffix(path: Path) -> str:
    """Return the suffix with which an image is written; images in LabelMe files become PNG."""
    suffix = path.suffix.lower()
    return '.png' if suffix == '.json' else _ALIASES.get(suffix, suffix)
