"""Problems of files, collected so that one run reports all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from mmseg_encnet.errors import UserError, first_line

CORRECT = 'correct them'
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


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn exceptions from reading an image file into a :class:`FileProblem`."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileProblem(path, 'the file is missing') from error
    # Pillow raises SyntaxError for broken PNG files and OSError for truncated ones.
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise FileProblem(path, f'the file cannot be read ({first_line(error)})') from error
