"""Find the images and videos to predict: files, folders and patterns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from mmseg_encnet.datasets.image_sizes import MAX_PIXELS, ImageSize, check_pixels
from mmseg_encnet.datasets.loading import IMAGE_SUFFIXES, check_regular
from mmseg_encnet.errors import UserError

# How to accept larger images, for error messages.
RAISE_LIMIT = 'raise the limit with --max-pixels (max_pixels in Python)'
VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv')


@dataclass(frozen=True)
class InputImage:
    """One image to predict.

    Attributes:
        source: An image file, or the BGR pixels of a video frame.
        target: Path of the label file, relative to the output folder; ends in ``.png``.
        title: Title of the image on its context sheet.
        origin: First fields of its record: the file, and the frame of a video.
    """

    source: Path | np.ndarray
    target: Path
    title: str
    origin: dict[str, str | int | float]


@dataclass(frozen=True)
class ImageFile:
    """An image file.

    Attributes:
        path: The file.
        target: Path of the label file, relative to the output folder.
    """

    path: Path
    target: Path
    num_images: int = field(default=1, init=False)

    def images(self) -> Iterator[InputImage]:
        """Yield the image."""
        yield InputImage(self.path, self.target, self.path.name, dict(image=str(self.path)))


@dataclass(frozen=True)
class Video:
    """A video whose frames can all be decoded.

    Attributes:
        path: The file.
        target: Folder of the label files, one per frame, relative to the output folder.
        num_images: Number of frames.
        frame_rate: Frames per second.
    """

    path: Path
    target: Path
    num_images: int
    frame_rate: float

    @classmethod
    def open(cls, path: Path, target: Path, max_pixels: int = MAX_PIXELS) -> Video:
        """Open a video and count its frames.

        Args:
            path: The file.
            target: Folder of the label files.
            max_pixels: Largest number of pixels of a frame.

        Raises:
            UserError: The video cannot be decoded to its end, or its frames are too large.
        """
        capture = _capture(path)
        sides = (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
        size = ImageSize(*(int(capture.get(side)) for side in sides))
        check_pixels(f'a frame of video {path}', size, max_pixels, RAISE_LIMIT)
        expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = capture.get(cv2.CAP_PROP_FPS)
        count = 0
        while capture.grab():
            count += 1
        capture.release()
        # The number in the container can be an estimate from the duration.
        if not count or count < 0.95 * expected - 1:
            raise UserError(
                f'video {path} cannot be decoded: only {count} of its {max(expected, 0)} frames '
                'are readable; replace it.'
            )
        return cls(path, target, count, rate if 0 < rate < 1000 else 25.0)

    def images(self) -> Iterator[InputImage]:
        """Yield the frames.

        Raises:
            UserError: The video has changed since it was opened.
        """
        capture = _capture(self.path)
        try:
            for frame in range(self.num_images):
                decoded, pixels = capture.read()
                if not decoded:
                    raise UserError(
                        f'frame {frame} of video {self.path} can no longer be decoded: the file '
                        'has changed; predict it again.'
                    )
                yield InputImage(
                    pixels,
                    self.target / f'{frame:06d}.png',
                    f'{self.path.name}, frame {frame}',
                    dict(video=str(self.path), frame=frame, time=round(frame / self.frame_rate, 3)),
                )
        finally:
            capture.release()


def find_inputs(
    entries: Iterable[str | Path],
    out_dir: Path,
    suffixes: Sequence[str] = IMAGE_SUFFIXES,
    max_pixels: int = MAX_PIXELS,
) -> list[ImageFile | Video]:
    """List the images and videos to predict, with the relative paths of their labels.

    Args:
        entries: Image files, videos, folders, which are searched recursively for images, and
            patterns such as ``photos/**/*.jpg``. Subfolders of a folder, or of the part of a
            pattern before its first wildcard, are kept in the output.
        out_dir: Output folder; skipped if it is inside a searched folder.
        suffixes: Lower-case suffixes of the images in folders and patterns.
        max_pixels: Largest number of pixels of a frame of a video.

    Raises:
        UserError: An entry does not exist or contains nothing to predict, a video cannot be
            decoded, or a label file would overwrite another one or an input.
    """
    found: dict[Path, ImageFile | Video] = {}
    for entry in map(str, entries):
        for path, relative in _expand(entry, out_dir, suffixes):
            is_video = path.suffix.lower() in VIDEO_SUFFIXES
            target = relative.with_suffix('' if is_video else '.png')
            if target in found:
                raise UserError(
                    f'{found[target].path} and {path} would both be written to {target}; use '
                    'separate output folders.'
                )
            if (out_dir / target).resolve() == path.resolve():
                raise UserError(
                    f'{path} would be overwritten with its own labels; choose another output '
                    'folder.'
                )
            found[target] = (
                Video.open(path, target, max_pixels) if is_video else ImageFile(path, target)
            )
    return list(found.values())


def _expand(entry: str, out_dir: Path, images: Sequence[str]) -> list[tuple[Path, Path]]:
    """Return the files of one entry, each with its path relative to the entry's root."""
    path = Path(entry)
    check_regular(path)
    if path.is_file():
        return [(path, Path(path.name))]
    if path.is_dir():
        suffixes, root, candidates = tuple(images), path, path.rglob('*')
        problem = f'folder {entry} contains no images'
    elif any(map(_is_wild, path.parts)):
        suffixes, (root, pattern) = (*images, *VIDEO_SUFFIXES), _split(path)
        candidates = root.glob(pattern)
        problem = f'pattern {entry!r} matches no images or videos'
    else:
        raise UserError(
            f'input {entry} does not exist; pass an image, a video, a folder of images or a '
            "pattern in quotes such as 'photos/**/*.jpg'."
        )
    candidates = [path for path in candidates if path.suffix.lower() in suffixes]
    for candidate in candidates:
        if not candidate.is_file():
            check_regular(candidate)
    results, searched = out_dir.resolve(), root.resolve()
    inside = results != searched and results.is_relative_to(searched)
    files = sorted(
        {
            candidate
            for candidate in candidates
            if candidate.is_file() and not (inside and candidate.resolve().is_relative_to(results))
        }
    )
    if not files:
        raise UserError(f'{problem}; expected files ending in {", ".join(suffixes)}.')
    return [(file, file.relative_to(root)) for file in files]


def _split(path: Path) -> tuple[Path, str]:
    """Split a pattern into the folder before the first wildcard and the pattern in it."""
    parts = path.parts
    first = next(index for index, part in enumerate(parts) if _is_wild(part))
    # A trailing ** matches folders only.
    pattern = Path(*parts[first:], *['*'] * (parts[-1] == '**'))
    return Path(*parts[:first]), str(pattern)


def _is_wild(part: str) -> bool:
    return any(character in part for character in '*?[')


def _capture(path: Path) -> cv2.VideoCapture:
    # Our own messages replace those of OpenCV and FFmpeg.
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    # Without an explicit backend OpenCV also tries the name as a pattern of image files.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    cv2.utils.logging.setLogLevel(level)
    if not capture.isOpened():
        raise UserError(f'video {path} cannot be opened: it is corrupt or not a video; replace it.')
    return capture
