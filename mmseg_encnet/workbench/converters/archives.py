"""Safe unpacking of archives: nothing outside the target folder, no links, no bombs."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from mmseg_encnet.disk import shown
from mmseg_encnet.errors import UserError, first_line, printable

# Advice when an unpacked file is missing, or damaged and deleted.
START_OVER = (
    "delete the folder .unpacked in the output folder and run again with the publisher's "
    'complete archive.'
)
_DICTIONARY, _LARGEST_HEADER = 256 << 20, 16 << 20
_MARKERS, _ASIDE = '.unpacked', '.part'
# FileExistsError and the two after it occur if an archive uses a name for both a file and a folder,
# the last five if the fields of its headers are damaged.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    LookupError,
    NotImplementedError,
    OverflowError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True)
class Limits:
    """Limits above which an archive is refused as a decompression bomb.

    Args:
        entries: Number of entries.
        ratio: Unpacked size divided by the size of the archive. Deflate reaches 1,000 on zeros;
            photographs and label images stay below 20.
        free: Unpacked size in bytes below which the ratio is not checked.
    """

    entries: int = 1_000_000
    ratio: float = 100.0
    free: int = 256 << 20


def unpack(
    archive: Path,
    target: Path,
    place: Callable[[str], str | None] = lambda name: name,
    limits: Limits = Limits(),
) -> None:
    """Unpack a zip file or a (compressed) tar file into a folder, once.

    Unpacking can be killed and restarted: files are renamed to their final names when complete,
    existing files of full size are skipped, and a marker in ``target/.unpacked`` records that an
    archive is finished.

    Args:
        archive: The archive.
        target: Folder to unpack into; created if it does not exist.
        place: Function from the name of a file in the archive (without a leading ``./``) to its
            path under ``target``, or to None for a file to leave out.
        limits: Limits above which the archive is refused.

    Raises:
        UserError: The archive is damaged or exceeds the limits, the name of an entry points outside
            ``target`` or is that of a marker or a temporary file, or an entry to unpack is a link
            or a device.
    """
    marker = unpacked_marker(archive.name, target)
    if marker.is_file():
        return
    target.mkdir(parents=True, exist_ok=True)
    size = archive.stat().st_size
    entries_left, bytes_left = limits.entries, max(limits.free, int(limits.ratio * size))
    read = _zip_entries if archive.suffix == '.zip' else _tar_entries
    try:
        with archive.open('rb') as raw, byte_bar(f'unpacking {archive.name}', size) as bar:
            for entry in read(archive, raw):
                name = _checked_name(archive, entry.name)
                entries_left -= 1
                bytes_left -= entry.size
                if entries_left < 0 or bytes_left < 0:
                    what = 'entries' if entries_left < 0 else 'bytes'
                    raise _refusal(
                        archive, f'unpacks to suspiciously many {what} (at {entry.name!r})'
                    )
                path = place(name) if name and not entry.is_dir else None
                if path is not None:
                    if _is_ours(path):
                        raise _refusal(
                            archive,
                            f'contains {entry.name!r}, a name that is reserved for unpacking',
                        )
                    if not entry.is_file:
                        raise _refusal(
                            archive, f'contains {entry.name!r}, a link or device instead of a file'
                        )
                    _write_entry(archive, entry, target / _checked_name(archive, path))
                bar.update(raw.tell() - bar.n)
            bar.update(size - bar.n)
    except UserError:
        raise
    except _DAMAGE as error:
        raise _damage(archive, error) from error
    except OSError as error:
        if error.errno == errno.EINVAL and error.filename is None:
            # A position before the start of the archive.
            raise _damage(archive, error) from error
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise _refusal(
            archive, f'contains the name {shown(error.filename)}, too long for this system'
        ) from error
    marker.parent.mkdir(exist_ok=True)
    marker.touch()


def _damage(archive: Path, error: Exception) -> UserError:
    return UserError(
        f'{archive} is damaged or incomplete ({first_line(error)}); delete it and fetch it again.'
    )


def byte_bar(title: str, total: int | None, done: int = 0) -> tqdm:
    """Return a progress bar of bytes."""
    return tqdm(
        desc=printable(title),
        total=total,
        initial=done,
        unit='B',
        unit_scale=True,
        unit_divisor=1024,
    )


def unpacked_marker(archive_name: str, target: Path) -> Path:
    """Return the path of the file that marks an archive as unpacked into a target."""
    return target / _MARKERS / archive_name


def _is_ours(path: str) -> bool:
    """Return whether a path could be a marker or a temporary file, on any file system.

    Some ignore case, and dots and spaces at the end of a name, or know a file by a stream of it.
    """
    parts = [part.partition(':')[0].rstrip('. ').casefold() for part in PurePosixPath(path).parts]
    return _MARKERS in parts or parts[-1].endswith(_ASIDE)


@dataclass(frozen=True)
class _Entry:
    name: str
    size: int
    is_dir: bool
    is_file: bool
    open: Callable[[], IO[bytes]]


def _zip_entries(archive: Path, raw: IO[bytes]) -> Iterator[_Entry]:
    with zipfile.ZipFile(raw) as content:
        infos = sorted(content.infolist(), key=lambda info: info.header_offset)
        for info in infos:
            if info.flag_bits & 1:
                raise _refusal(archive, f'contains the encrypted file {info.filename!r}')
        for info in infos:
            # Zip files from systems without file modes have mode 0.
            is_file = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
            # Not filename, whose separators differ on Windows.
            name, size = info.orig_filename, info.file_size
            yield _Entry(name, size, info.is_dir(), is_file, partial(content.open, info))


def _tar_entries(archive: Path, raw: IO[bytes]) -> Iterator[_Entry]:
    stream = _decompressed(raw)
    with tarfile.open(fileobj=_HeaderGuard(stream), mode='r:') as content:
        for info in content:
            if info.size < 0:
                raise tarfile.ReadError(f'{info.name} has a negative size')
            read = partial(content.extractfile, info)
            yield _Entry(info.name, info.size, info.isdir(), info.isfile(), read)
            # tarfile keeps all members for look-up by name, which is not needed here.
            content.members = []
        # tarfile does not distinguish a truncated file from the end of the archive.
        if stream is not raw:
            while stream.read(1 << 20):
                pass
        else:
            raw.seek(content.offset)
            if raw.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError('the end is missing')


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    start = raw.read(64)
    raw.seek(0)
    if start.startswith(b'\x1f\x8b'):
        return gzip.GzipFile(fileobj=raw)
    if start.startswith(b'BZh'):
        return bz2.BZ2File(raw)
    if start.startswith((b'\xfd7zXZ', b'\x5d\x00\x00')):
        # The file chooses the size of its dictionary, up to 4 GiB.
        lzma.LZMADecompressor(memlimit=_DICTIONARY).decompress(start)
        return lzma.LZMAFile(raw)
    return raw


class _HeaderGuard(io.RawIOBase):
    """A stream that refuses to read headers of gigabytes, which tarfile reads in one piece."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER:
            raise tarfile.ReadError(f'a header has {size} bytes')
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def _checked_name(archive: Path, name: str) -> str:
    """Return a name without leading ``./``; refuse one that could leave a folder on any system."""
    path = PurePosixPath(name.replace('\\', '/'))
    if path.is_absolute() or '..' in path.parts or ':' in name.partition('/')[0] or '\0' in name:
        raise _refusal(
            archive, f'contains {name!r}, which points outside the folder it is unpacked into'
        )
    return '/'.join(path.parts)


def _refusal(archive: Path, reason: str) -> UserError:
    return UserError(f'{archive} {reason}; fetch the archive from its publisher.')


def _write_entry(archive: Path, entry: _Entry, path: Path) -> None:
    if path.is_file() and path.stat().st_size == entry.size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f'{path.name}{_ASIDE}')
    try:
        # Neither zipfile nor tarfile reads more than the size of an entry.
        with entry.open() as content, aside.open('wb') as file:
            shutil.copyfileobj(content, file, 1 << 20)
        if aside.stat().st_size != entry.size:
            raise EOFError(f'{entry.name} has {aside.stat().st_size} of {entry.size} bytes')
        aside.replace(path)
    except (NotImplementedError, RuntimeError) as error:
        raise UserError(
            f'{archive} contains {entry.name!r} in an unsupported form ({error}); unpack the '
            'archive by hand.'
        ) from error
    finally:
        aside.unlink(missing_ok=True)
