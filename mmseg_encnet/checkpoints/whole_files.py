"""Files of weights that are whole or not there: writing them, and finding out if one is damaged."""

from __future__ import annotations

import os
import re
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

from mmengine.fileio import LocalBackend, register_backend

from mmseg_encnet.errors import UserError

WHOLE_FILES = 'whole-files'
ZIP_MAGIC = b'PK\x03\x04'
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
        if file.read(len(ZIP_MAGIC)) != ZIP_MAGIC:
            return
    try:
        with ZipFile(path) as archive:
            # Unpacking a compressed record could fill the memory; of one that is marked as a
            # folder torch reads nothing, and leaves its tensor as the memory was.
            strange = [
                info.filename
                for info in archive.infolist()
                if info.compress_type != ZIP_STORED or info.external_attr & _FOLDER
            ]
            broken = None if strange else archive.testzip()
    except MemoryError:
        raise
    except Exception as error:
        # zipfile fails in many ways, all of them about what the bytes say.
        reason = ' '.join(str(error).split()).rstrip('.') or type(error).__name__
        raise DamagedFileError(
            f'checkpoint {path} is truncated or damaged: {reason}; write or fetch it again.'
        ) from error
    if strange:
        raise DamagedFileError(
            f'checkpoint {path} is damaged or no checkpoint: its record '
            f'{strange[0]} is marked as compressed or as a folder, which '
            'torch.save never does; write or fetch it again.'
        )
    if broken is not None:
        raise DamagedFileError(
            f'checkpoint {path} is damaged: its record {broken} does not match '
            'its checksum; write or fetch it again.'
        )
