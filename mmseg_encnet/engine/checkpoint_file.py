"""Files of weights that are whole or not there: writing them, and finding out if one is damaged."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

from mmengine.fileio import LocalBackend, register_backend
from mmengine.runner import CheckpointLoader, find_latest_checkpoint

from ..errors import UserError
from .safe_loading import load_plain

WHOLE_FILES = 'whole-files'
_ZIP_MAGIC = b'PK\x03\x04'
_FOLDER = 0x10
_LEFTOVER = re.compile(r'.+\.\d+\.part')


class DamagedFileError(UserError):
    """A file's content is not what was written."""


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write aside and rename, so that a killed process never leaves half a file.

    Whatever was at ``path`` stays until the new content is on the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        with aside.open('wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    # The rename too has to survive a power failure.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed in :func:`write_whole` left in a folder.

    A folder that does not exist holds none.
    """
    for path in folder.glob('*.part'):
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


@register_backend(WHOLE_FILES)
class WholeFileBackend(LocalBackend):
    """The toolbox's local files, written whole or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        write_whole(Path(filepath), obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        write_whole(Path(filepath), obj.encode(encoding))


def check_undamaged(path: str | Path) -> None:
    """Hold the records of a checkpoint to the checksums that ``torch.save`` wrote beside them.

    ``torch.load`` does not: a flipped bit in a weight is read as another weight. Files of PyTorch
    before 1.6 have no checksums, and are left to ``torch.load`` as everything that is no archive.

    Raises:
        DamagedFileError: Naming the file and what is wrong with it.
    """
    path = Path(path)
    with path.open('rb') as file:
        if file.read(len(_ZIP_MAGIC)) != _ZIP_MAGIC:
            return
    try:
        with ZipFile(path) as archive:
            # Unpacking a compressed record could fill the memory; of one that is marked as a
            # folder torch reads nothing, and leaves its tensor as the memory was.
            strange = [info.filename for info in archive.infolist()
                       if info.compress_type != ZIP_STORED or info.external_attr & _FOLDER]
            broken = None if strange else archive.testzip()
    except MemoryError:
        raise
    except Exception as error:
        # zipfile fails in many ways, all of them about what the bytes say.
        reason = ' '.join(str(error).split()).rstrip('.') or type(error).__name__
        raise DamagedFileError(f'checkpoint {path} is truncated or damaged: {reason}; write or '
                               'fetch it again.') from error
    if strange:
        raise DamagedFileError(f'checkpoint {path} is damaged or no checkpoint: its record '
                               f'{strange[0]} is marked as compressed or as a folder, which '
                               'torch.save never does; write or fetch it again.')
    if broken is not None:
        raise DamagedFileError(f'checkpoint {path} is damaged: its record {broken} does not match '
                               'its checksum; write or fetch it again.')


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_undamaged(filename: str, map_location: Any) -> Any:
    """The toolbox's loader of local files, for files that are what was written.

    In place of the toolbox's own it reaches every way in which the toolbox reads weights.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'{filename} can not be found.')
    check_undamaged(path)
    return load_plain(path, map_location)


def find_resumable(work_dir: str | Path, warn: Callable[[str], None]) -> str | None:
    """The checkpoint with which an interrupted training goes on.

    It is the last one written. Is that damaged or gone, it is the newest one before it that is
    not: resuming is exact, so this costs time and changes no result.

    Args:
        work_dir: Folder of the training.
        warn: Called with a sentence about a checkpoint that cannot be used.

    Returns:
        The file, or None if nothing was written yet.

    Raises:
        DamagedFileError: If none of those written is whole.
    """
    last = find_latest_checkpoint(str(work_dir))
    if not last:
        return None
    path = Path(last)
    if not path.is_file():
        # The folder may have been moved.
        path = Path(work_dir) / path.name
    problem = _problem(path)
    if problem is None:
        return str(path)
    for earlier in _earlier(path):
        if _problem(earlier) is None:
            warn(f'{problem} Training goes on from the checkpoint before it, {earlier}.')
            return str(earlier)
    raise DamagedFileError(f'{problem} There is no whole checkpoint before it in {path.parent} to '
                           'resume from; train without --resume to start over.')


def _problem(path: Path) -> str | None:
    if not path.is_file():
        return f'The last checkpoint {path} is missing.'
    try:
        check_undamaged(path)
    except DamagedFileError as error:
        return str(error)
    with path.open('rb') as file:
        # The other format that torch.load reads starts with a pickle.
        if file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC:
            return None
    return f'checkpoint {path} is damaged: it is empty or does not start as a checkpoint does.'


def _earlier(path: Path) -> list[Path]:
    """The checkpoints of the same series before one, newest first."""
    match = re.fullmatch(r'(.*?)(\d+)(\D*)', path.name)
    if match is None or not path.parent.is_dir():
        return []
    series = re.compile(f'{re.escape(match[1])}(\\d+){re.escape(match[3])}')
    found = [(int(other[1]), file) for file in path.parent.iterdir()
             if (other := series.fullmatch(file.name))]
    return [file for number, file in sorted(found, reverse=True) if number < int(match[2])]
