"""Write checkpoint files completely or not at all, and detect damaged ones."""

from __future__ import annotations

import os
import re
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

from mmengine.fileio import LocalBackend, register_backend

from mmseg_encnet.errors import UserError, first_line
from mmseg_encnet.values import brief

WHOLE_FILES = 'whole-files'
ZIP_MAGIC = b'PK\x03\x04'
CONVERTER = 'python tools/model_converters/convert.py SRC DST'
_FOLDER = 0x10
_RESTORE = 'write or download it again'
_LEFTOVER = re.compile(r'.+\.\d+\.part')


class DamagedFileError(UserError):
    """The content of a file differs from what was written."""


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write to a temporary file and rename it, so that a killed process never leaves half a file.

    A previous file at ``path`` stays until the new content is on the disk.
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
    # The rename has to survive a power failure, too.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes that were killed in :func:`write_whole`."""
    for path in folder.glob('*.part'):
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


@register_backend(WHOLE_FILES)
class WholeFileBackend(LocalBackend):
    """The toolbox's backend for local files, which writes them completely or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        write_whole(Path(filepath), obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        write_whole(Path(filepath), obj.encode(encoding, errors='surrogateescape'))


def holds_other_files(path: Path) -> bool:
    """Return whether a file is an intact zip file that ``torch.save`` did not write."""
    try:
        with ZipFile(path) as archive:
            return not any(
                name.endswith(('data.pkl', 'constants.pkl')) for name in archive.namelist()
            )
    except Exception:
        # Damaged bytes make zipfile fail in many ways.
        return False


def check_undamaged(path: str | Path) -> None:
    """Check the records of a checkpoint against the checksums that ``torch.save`` stored.

    ``torch.load`` does not: it reads a flipped bit in a weight as another weight. Files of PyTorch
    before 1.6 have no checksums; they and everything else that is not an archive are left to
    ``torch.load``.

    Raises:
        DamagedFileError: The file is truncated or damaged.
    """
    path = Path(path)
    with path.open('rb') as file:
        if file.read(len(ZIP_MAGIC)) != ZIP_MAGIC:
            return
    if holds_other_files(path):
        raise DamagedFileError(
            f'checkpoint {path} is a zip file of other files; unpack it or, if it is a published '
            f'checkpoint of another framework, convert it with {CONVERTER}'
        )
    try:
        with ZipFile(path) as archive:
            # Unpacking a compressed record could exhaust the memory. torch does not read a record
            # marked as a folder and leaves its tensor uninitialised.
            strange = [
                info.filename
                for info in archive.infolist()
                if info.compress_type != ZIP_STORED or info.external_attr & _FOLDER
            ]
            broken = None if strange else archive.testzip()
    except MemoryError:
        raise
    except Exception as error:
        # Damaged bytes make zipfile fail in many ways.
        raise DamagedFileError(
            f'checkpoint {path} is truncated or damaged ({first_line(error)}); {_RESTORE}.'
        ) from error
    if strange:
        raise DamagedFileError(
            f'checkpoint {path} is damaged or not a checkpoint: its record {brief(strange[0])} is '
            f'marked as compressed or as a folder, which torch.save never does; {_RESTORE}.'
        )
    if broken is not None:
        raise DamagedFileError(
            f'checkpoint {path} is damaged: its record {brief(broken)} does not match its '
            f'checksum; {_RESTORE}.'
        )
