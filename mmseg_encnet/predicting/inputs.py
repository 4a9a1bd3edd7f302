"""What a person gives to be labelled: image files, folders of them, patterns and videos."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmengine import fileio

from mmseg_encnet.errors import UserError

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv')


@dataclass(frozen=True)
class Picture:
    """One picture to label.

    Attributes:
        source: An image file, or the BGR pixels of a video's frame.
        target: Where its labels go, below the folder of the results; ends in ``.png``.
        title: What to call it.
        origin: What its record starts with: which file, and which frame of it.
    """

    source: Path | np.ndarray
    target: Path
    title: str
    origin: dict[str, str | int | float]

    def rgb(self) -> np.ndarray:
        """Its pixels ``(H, W, 3)`` uint8."""
        pixels = self.source
        if not isinstance(pixels, np.ndarray):
            pixels = mmcv.imfrombytes(fileio.get(str(pixels)))
        return np.ascontiguousarray(pixels[..., ::-1])


@dataclass(frozen=True)
class ImageFile:
    """An image file.

    Attributes:
        path: Where it is.
        target: Relative path of its labels.
    """

    path: Path
    target: Path
    num_pictures: int = field(default=1, init=False)

    def pictures(self) -> Iterator[Picture]:
        yield Picture(self.path, self.target, self.path.name, dict(image=str(self.path)))


@dataclass(frozen=True)
class Video:
    """A video all of whose frames have been decoded once.

    Attributes:
        path: Where it is.
        target: Relative path of the folder of its labels, one file a frame.
        num_pictures: Number of frames.
        frame_rate: Frames per second.
    """

    path: Path
    target: Path
    num_pictures: int
    frame_rate: float

    @classmethod
    def open(cls, path: Path, target: Path) -> Video:
        """Look through a video.

        Raises:
            UserError: If it cannot be decoded to its end.
        """
        capture = _capture(path)
        expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = capture.get(cv2.CAP_PROP_FPS)
        count = 0
        while capture.grab():
            count += 1
        capture.release()
        # What a container says can be an estimate from its duration.
        if not count or count < 0.95 * expected - 1:
            raise UserError(
                f'video {path} cannot be decoded: {count} of its {max(expected, 0)} '
                'frames can be read, the rest is broken or missing; replace it.'
            )
        return cls(path, target, count, rate if 0 < rate < 1000 else 25.0)

    def pictures(self) -> Iterator[Picture]:
        capture = _capture(self.path)
        try:
            for frame in range(self.num_pictures):
                decoded, pixels = capture.read()
                if not decoded:
                    raise UserError(
                        f'video {self.path} changed while it was read: its frame '
                        f'{frame} cannot be decoded any more.'
                    )
                yield Picture(
                    pixels,
                    self.target / f'{frame:06d}.png',
                    f'{self.path.name}, frame {frame}',
                    dict(video=str(self.path), frame=frame, time=round(frame / self.frame_rate, 3)),
                )
        finally:
            capture.release()


def find_inputs(entries: Iterable[str | Path], out_dir: Path) -> list[ImageFile | Video]:
    """List what is to be labelled, each with the relative path of its labels.

    Args:
        entries: Image files; videos; folders, which are searched for images with all below them;
            and patterns such as ``photos/**/*.jpg``, below whose fixed part the folders are kept.
        out_dir: Folder of the results. Where it lies in a folder that is searched, it is left out.

    Raises:
        UserError: If an entry does not exist or holds nothing to label, a video cannot be decoded,
            two results would be written to one place, or one over an input.
    """
    found: dict[Path, ImageFile | Video] = {}
    for entry in map(str, entries):
        for path, relative in _expand(entry, out_dir):
            is_video = path.suffix.lower() in VIDEO_SUFFIXES
            target = relative.with_suffix('' if is_video else '.png')
            if target in found:
                raise UserError(
                    f'{found[target].path} and {path} would both be written to '
                    f'{target}; predict them into separate folders.'
                )
            if (out_dir / target).resolve() == path.resolve():
                raise UserError(
                    f'{path} would be overwritten with its own labels; choose another '
                    'folder for the results.'
                )
            found[target] = (Video.open if is_video else ImageFile)(path, target)
    return list(found.values())


def _expand(entry: str, out_dir: Path) -> list[tuple[Path, Path]]:
    """The files of one entry, each with its path relative to the entry's root."""
    path = Path(entry)
    if path.is_file():
        return [(path, Path(path.name))]
    if path.is_dir():
        suffixes, root, candidates = IMAGE_SUFFIXES, path, path.rglob('*')
        problem = f'folder {entry} holds no images'
    elif any(map(_is_wild, path.parts)):
        suffixes, (root, pattern) = IMAGE_SUFFIXES + VIDEO_SUFFIXES, _split(path)
        candidates = root.glob(pattern)
        problem = f'pattern {entry!r} matches no images or videos'
    else:
        raise UserError(
            f'input {entry} does not exist; give an image, a video, a folder of images '
            "or a pattern in quotes such as 'photos/**/*.jpg'."
        )
    results, searched = out_dir.resolve(), root.resolve()
    inside = results != searched and results.is_relative_to(searched)
    files = sorted(
        {
            candidate
            for candidate in candidates
            if candidate.suffix.lower() in suffixes
            and candidate.is_file()
            and not (inside and candidate.resolve().is_relative_to(results))
        }
    )
    if not files:
        raise UserError(f'{problem}; expected files that end in {", ".join(suffixes)}.')
    return [(file, file.relative_to(root)) for file in files]


def _split(path: Path) -> tuple[Path, str]:
    """A pattern's folder before the first wildcard, and what is to be found in it."""
    parts = path.parts
    first = next(index for index, part in enumerate(parts) if _is_wild(part))
    # A last ** alone would find folders.
    pattern = Path(*parts[first:], *['*'] * (parts[-1] == '**'))
    return Path(*parts[:first]), str(pattern)


def _is_wild(part: str) -> bool:
    return any(character in part for character in '*?[')


def _capture(path: Path) -> cv2.VideoCapture:
    # What is wrong with a video is told in one sentence of our own.
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    # Without naming the backend OpenCV goes on to take the name for a pattern of image files.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    cv2.utils.logging.setLogLevel(level)
    if not capture.isOpened():
        raise UserError(f'video {path} cannot be opened: it is broken or no video; replace it.')
    return capture
