"""Read label images and find out which values and colours they contain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmseg_encnet.workbench.converters.own.classes import Colour, hex_colour
from mmseg_encnet.workbench.converters.own.problems import FileProblem, opened

# Key of fully transparent pixels, after the 24 bits of RGB.
TRANSPARENT = 1 << 24
_INDEXED = ('1', 'P', 'L', 'I', 'F')


@dataclass(frozen=True)
class LabelPixels:
    """Pixels of a label image.

    Attributes:
        keys: ``(H, W)`` int32: values of one channel, or colours, see :func:`key_of`.
        coloured: Whether the keys are colours.
        palette: RGB colours by value, ``(N, 3)`` uint8, if the file has a palette.
    """

    keys: np.ndarray
    coloured: bool
    palette: np.ndarray | None = None

    def as_colours(self, path: Path) -> np.ndarray:
        """Return the keys of the colours, ``(H, W)`` int32.

        Raises:
            FileProblem: A value of one channel exceeds 255.
        """
        if self.coloured:
            return self.keys
        if self.palette is not None:
            return _packed(self.palette)[self.keys]
        if self.keys.max(initial=0) > 255:
            raise FileProblem(path, f'contains the value {self.keys.max()} among RGB labels')
        return self.keys * 0x010101


def key_of(colour: Colour) -> int:
    """Return the key of a colour."""
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def colour_of(key: int) -> Colour:
    """Return the colour of a key."""
    return key >> 16 & 255, key >> 8 & 255, key & 255


def text_of(key: int) -> str:
    """Return the key of a colour for messages."""
    return 'transparent' if key == TRANSPARENT else hex_colour(colour_of(key))


def load_label(path: Path) -> LabelPixels:
    """Read a label image of any mode.

    Raises:
        FileProblem: The file is missing or damaged, or has values that are not whole numbers.
    """
    with opened(path) as file:
        mode = file.mode
        if mode.startswith(_INDEXED) and mode not in ('LA', 'PA') and len(file.getbands()) == 1:
            values = np.asarray(file)
            palette = None
            if mode == 'P':
                table = np.array(file.getpalette('RGB') or [], np.uint8).reshape(-1, 3)
                palette = np.zeros((256, 3), np.uint8)
                palette[: len(table)] = table
        else:
            pixels = np.asarray(file.convert('RGBA'))
            keys = _packed(pixels[..., :3])
            keys[pixels[..., 3] == 0] = TRANSPARENT
            return LabelPixels(keys, coloured=True)
    if values.dtype.kind == 'f' and (values != np.rint(values)).any():
        raise FileProblem(path, 'contains values that are not whole numbers')
    if values.dtype != bool and (values.min(initial=0) < 0 or values.max(initial=0) >= TRANSPARENT):
        raise FileProblem(
            path, f'contains values from {values.min()} to {values.max()}, expected classes'
        )
    return LabelPixels(values.astype(np.int32), coloured=False, palette=palette)


@dataclass(frozen=True)
class FileSurvey:
    """What one label image contains.

    Attributes:
        path: The file.
        coloured: Whether it has several channels that differ, or transparent pixels.
        keys: Values, or colours if it has several channels, ``(N,)``.
        pixels: Pixels of each, ``(N,)``.
        inner: Pixels of each whose four neighbours are equal, ``(N,)``.
        palette: Colours of the values that occur, ``(N, 3)``, if the file has a palette.
    """

    path: Path
    coloured: bool
    keys: np.ndarray
    pixels: np.ndarray
    inner: np.ndarray
    palette: np.ndarray | None


@dataclass
class Survey:
    """What all label images contain.

    Attributes:
        coloured: Whether any file has colours.
        palette: Colour of each value, if all files with a palette agree.
        palettes_differ: Whether two files have different colours for a value.
        keys, pixels, inner: As in :class:`FileSurvey`, over all files; colours if ``coloured``
            or ``palettes_differ``.
        examples: Index of a file with each key.
        paths: The files.
    """

    paths: list[Path]
    coloured: bool
    palette: dict[int, Colour] = field(default_factory=dict)
    palettes_differ: bool = False
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    inner: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    examples: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def example(self, key: int) -> Path:
        """Return a file that contains a key."""
        return self.paths[self.examples[np.searchsorted(self.keys, key)]]

    def count(self, key: int) -> int:
        """Return the number of pixels with a key."""
        position = int(np.searchsorted(self.keys, key))
        found = position < len(self.keys) and self.keys[position] == key
        return int(self.pixels[position]) if found else 0


def combine(files: Sequence[FileSurvey], as_colours: bool) -> Survey:
    """Combine what all files contain.

    Args:
        files: What each file contains.
        as_colours: Whether values and palettes are colours as well.
    """
    coloured = any(file.coloured for file in files)
    palette: dict[int, Colour] = {}
    differ = False
    for file in files:
        if file.palette is None:
            continue
        for key, colour in zip(file.keys.tolist(), file.palette.tolist()):
            differ |= palette.setdefault(key, tuple(colour)) != tuple(colour)
    result = Survey([file.path for file in files], coloured, palette, differ)
    to_colours = as_colours or coloured or differ
    # Compacted from time to time: JPEG labels have tens of thousands of colours each.
    waiting: list[tuple[np.ndarray, ...]] = []
    size = 0
    for index, file in enumerate(files):
        keys = _colour_keys(file) if to_colours else file.keys
        waiting.append((keys, file.pixels, file.inner, np.full(len(keys), index)))
        size += len(keys)
        if size > 4_000_000:
            _compact(result, waiting)
            waiting, size = [], 0
    _compact(result, waiting)
    return result


def _compact(result: Survey, waiting: Iterable[tuple[np.ndarray, ...]]) -> None:
    rows = [(result.keys, result.pixels, result.inner, result.examples), *waiting]
    keys, pixels, inner, examples = (np.concatenate(column) for column in zip(*rows))
    result.keys, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    result.pixels = _sums(inverse, pixels, len(first))
    result.inner = _sums(inverse, inner, len(first))
    result.examples = examples[first]


def _sums(groups: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    # Sums of pixels are exact in float64.
    return np.bincount(groups, values, count).astype(np.int64)


def _colour_keys(file: FileSurvey) -> np.ndarray:
    if file.palette is not None:
        return _packed(file.palette).astype(np.int64)
    if file.coloured or file.keys.max(initial=0) > 255:
        return file.keys
    return file.keys * 0x010101


def survey_file(path: Path) -> FileSurvey:
    """Read a label image.

    Raises:
        FileProblem: It cannot be read.
    """
    label = load_label(path)
    keys = label.keys
    inner = np.zeros(keys.shape, bool)
    if min(keys.shape) > 2:
        centre = keys[1:-1, 1:-1]
        inner[1:-1, 1:-1] = (
            (centre == keys[:-2, 1:-1])
            & (centre == keys[2:, 1:-1])
            & (centre == keys[1:-1, :-2])
            & (centre == keys[1:-1, 2:])
        )
    codes, counts = np.unique(keys.astype(np.int64) * 2 + inner, return_counts=True)
    found, inverse = np.unique(codes // 2, return_inverse=True)
    pixels = _sums(inverse, counts, len(found))
    inside = _sums(inverse, counts * (codes % 2), len(found))
    coloured = label.coloured
    if coloured and (found != TRANSPARENT).all() and (found == (found & 255) * 0x010101).all():
        # Three equal channels are one.
        coloured, found = False, found & 255
    palette = None if label.palette is None else label.palette[found]
    return FileSurvey(path, coloured, found, pixels, inside, palette)


def _packed(rgb: np.ndarray) -> np.ndarray:
    return rgb.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
