"""Problems of files, collected so that one run reports all of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from tqdm import tqdm

from mmseg_encnet.datasets.image_sizes import ImageSize, excess, stored_size
from mmseg_encnet.disk import shown
from mmseg_encnet.errors import UserError, first_line
from mmseg_encnet.values import brief
from mmseg_encnet.workbench.converters.labels import run_parallel

_Task = TypeVar('_Task')
_Result = TypeVar('_Result')
CORRECT = 'correct them'
SHRINK = 'shrink or remove them'
# What reading an annotation raises if a value is missing or of another type.
MALFORMED = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
# For values, colours and names that are not among the classes.
UNKNOWN = 'add the classes with --colours FILE, or ignore unknown ones with --ignore-unknown'


class FileProblem(Exception):
    """One file cannot be used.

    Args:
        path: The file.
        reason: What was found and what was expected, without a full stop.
        remedy: What to do, if it is not to correct the file.
    """

    def __init__(self, path: Path | str, reason: str, remedy: str = CORRECT) -> None:
        # All arguments, because exceptions travel between processes by them.
        super().__init__(str(path), reason, remedy)
        self.path, self.reason, self.remedy = str(path), reason, remedy

    def __str__(self) -> str:
        return f'{self.path}: {self.reason}'


class UnusableData(UserError):
    """Some files of a data set cannot be used.

    Args:
        problems: The problems, at least one.
        total: Number of files that were checked.
        what: What the files are, in the plural.
    """

    def __init__(self, problems: Sequence[FileProblem], total: int, what: str) -> None:
        self.problems = sorted(problems, key=str)
        first = self.problems[0]
        remedies = ', or '.join(dict.fromkeys(problem.remedy for problem in self.problems))
        super().__init__(
            f'{len(self.problems)} of {total} {what} cannot be used, first {first}; nothing was '
            f'written; {remedies}, and run again.'
        )


def map_files(
    function: Callable[[_Task], _Result], tasks: Sequence[_Task], jobs: int, title: str, unit: str
) -> tuple[list[_Result], list[FileProblem]]:
    """Apply a function in parallel, with a progress bar, and collect the problems that it raises.

    Args:
        function: Module-level function of one task.
        tasks: Its arguments.
        jobs: Number of processes.
        title, unit: Of the progress bar.

    Returns:
        The results and the problems, in the order of the tasks.
    """
    running = run_parallel(partial(_outcome, function), enumerate(tasks), jobs)
    found = list(tqdm(running, total=len(tasks), desc=title, unit=unit))
    outcomes = [outcome for _, outcome in sorted(found, key=itemgetter(0))]
    results = [outcome for outcome in outcomes if not isinstance(outcome, FileProblem)]
    return results, [outcome for outcome in outcomes if isinstance(outcome, FileProblem)]


def _outcome(function: Callable[[Any], Any], item: tuple[int, Any]) -> tuple[int, Any]:
    number, task = item
    try:
        return number, function(task)
    except FileProblem as problem:
        return number, problem


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn exceptions from reading an image file into a :class:`FileProblem`."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileProblem(path, 'the file is missing') from error
    # Pillow raises SyntaxError for broken PNG files and OSError for truncated ones.
    except (Image.DecompressionBombError, OSError, SyntaxError, *MALFORMED) as error:
        raise FileProblem(path, f'the file cannot be read ({first_line(error)})') from error


@contextmanager
def opened(path: Path | str, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open an image as ``PIL.Image.open`` does, after checking the size in its header.

    Args:
        path: The file.
        content: The image, if it is part of the file.

    Raises:
        FileProblem: The image is missing, damaged or too large, or reading it fails later.
    """
    size = stored_size(path if content is None else content)
    if size is not None:
        _check_size(path, size, '')
    with reading(path):
        # From memory: reading a file, Pillow allocates whatever size a part of it claims to have.
        file = io.BytesIO(Path(path).read_bytes() if content is None else content)
        yield Image.open(file)


def checked_size(
    path: Path | str, width: Any, height: Any, image: str | None = None
) -> tuple[int, int]:
    """Return the height and width that an annotation file gives for an image.

    Raises:
        FileProblem: They are not numbers of pixels, or too large.
    """
    for side in (height, width):
        if type(side) is not int or not 0 < side < 100_000:
            raise FileProblem(
                path,
                f'gives the size of {shown(image) if image else "its image"} as {brief(width)} x '
                f'{brief(height)}, expected pixels',
            )
    _check_size(path, ImageSize(height, width), f'lists {shown(image)}, which ' if image else '')
    return height, width


def _check_size(path: Path | str, size: ImageSize, subject: str) -> None:
    problem = excess(size)
    if problem is not None:
        raise FileProblem(path, f'{subject}{problem}', SHRINK)
