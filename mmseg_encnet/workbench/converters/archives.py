"""Safe unpacking of archives: nothing outside the target folder, no links, no bombs."""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from tqdm import tqdm

from mmseg_encnet.errors import UserError, first_line

# Advice when an unpacked file is missing, or damaged and deleted.
START_OVER = (
    "delete the folder .unpacked in the output folder and run again with the publisher's "
    'complete archive.'
)
# The last three occur if an archive uses a name for both a file and a folder.
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
            ``target``, or an entry to unpack is a link or a device.
    """
    marker = unpacked_marker(archive.name, target)
    if marker.is_file():
        return
    target.mkdir(parents=True, exist_ok=True)
    budget = _Budget(archive, limits)
    try:
        with _entries(archive) as (entries, progress):
            for entry in entries:
                name = _checked_name(archive, entry.name)
                budget.take(entry)
                path = place(name) if name and not entry.is_dir else None
                if path is not None:
                    if not entry.is_file:
                        raise UserError(
                            f'{archive} contains {entry.name!r}, a link or device instead of '
                            'a file; fetch the archive from its publisher.'
                        )
                    _write_entry(archive, entry, target / _checked_name(archive, path))
                progress()
    except _DAMAGE as error:
        raise UserError(
            f'{archive} is damaged or incomplete ({first_line(error)}); delete it and '
            'fetch it again.'
        ) from error
    marker.parent.mkdir(exist_ok=True)
    marker.touch()


def unpacked_marker(archive_name: str, target: Path) -> Path:
    """Return the path of the file that marks an archive as unpacked into a target."""
    return target / '.unpacked' / archive_name


class _Entry(Protocol):
    name: str
    size: int
    is_dir: bool
    is_file: bool

    def open(self) -> IO[bytes]: ...


@dataclass(frozen=True)
class _ZipEntry:
    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    @property
    def name(self) -> str:
        # Not filename, whose separators differ on Windows.
        return self.info.orig_filename

    @property
    def size(self) -> int:
        return self.info.file_size

    @property
    def is_dir(self) -> bool:
        return self.info.is_dir()

    @property
    def is_file(self) -> bool:
        # Zip files from systems without file modes have mode 0.
        return stat.S_IFMT(self.info.external_attr >> 16) in (0, stat.S_IFREG)

    def open(self) -> IO[bytes]:
        return self.archive.open(self.info)


@dataclass(frozen=True)
class _TarEntry:
    archive: tarfile.TarFile
    info: tarfile.TarInfo

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def size(self) -> int:
        return self.info.size

    @property
    def is_dir(self) -> bool:
        return self.info.isdir()

    @property
    def is_file(self) -> bool:
        return self.info.isfile()

    def open(self) -> IO[bytes]:
        return self.archive.extractfile(self.info)


@contextmanager
def _entries(archive: Path) -> Iterator[tuple[Iterator[_Entry], Callable[[], None]]]:
    """Yield the entries of an archive in order, and a function that updates the progress bar."""
    size = archive.stat().st_size
    with (
        archive.open('rb') as raw,
        tqdm(
            desc=f'unpacking {archive.name}',
            total=size,
            unit='B',
            unit_scale=True,
            unit_divisor=1024,
        ) as bar,
    ):

        def progress() -> None:
            bar.update(raw.tell() - bar.n)

        if archive.suffix == '.zip':
            with zipfile.ZipFile(raw) as content:
                infos = sorted(content.infolist(), key=lambda info: info.header_offset)
                encrypted = next((info for info in infos if info.flag_bits & 1), None)
                if encrypted:
                    raise UserError(
                        f'{archive} contains the encrypted file {encrypted.filename!r}; fetch '
                        'the archive from its publisher.'
                    )
                yield (_ZipEntry(content, info) for info in infos), progress
        else:
            with tarfile.open(fileobj=raw, mode='r:*') as content:
                yield _tar_entries(content, compressed=content.fileobj is not raw), progress
        bar.update(size - bar.n)


def _tar_entries(content: tarfile.TarFile, compressed: bool) -> Iterator[_Entry]:
    for info in content:
        yield _TarEntry(content, info)
        # tarfile keeps all members for look-up by name, which is not needed here.
        content.members = []
    # tarfile does not distinguish a truncated file from the end of the archive.
    if compressed:
        while content.fileobj.read(1 << 20):
            pass
    else:
        content.fileobj.seek(content.offset)
        if content.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError('the end is missing')


class _Budget:
    """Counts the unpacked size of an archive, as declared by its entries."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self._archive = archive
        self._entries = limits.entries
        self._bytes = max(limits.free, int(limits.ratio * archive.stat().st_size))

    def take(self, entry: _Entry) -> None:
        if entry.size < 0:
            raise tarfile.ReadError(f'{entry.name} has a negative size')
        self._entries -= 1
        self._bytes -= entry.size
        if self._entries < 0 or self._bytes < 0:
            what = 'entries' if self._entries < 0 else 'bytes'
            raise UserError(
                f'{self._archive} unpacks to suspiciously many {what} (at {entry.name!r}); fetch '
                'the archive from its publisher.'
            )


def _checked_name(archive: Path, name: str) -> str:
    """Return a name without leading ``./``; refuse one that could leave a folder on any system."""
    path = PurePosixPath(name.replace('\\', '/'))
    if path.is_absolute() or '..' in path.parts or ':' in name.partition('/')[0] or '\0' in name:
        raise UserError(
            f'{archive} contains {name!r}, which points outside the folder it is unpacked into; '
            'fetch the archive from its publisher.'
        )
    return '/'.join(path.parts)


def _write_entry(archive: Path, entry: _Entry, path: Path) -> None:
    if path.is_file() and path.stat().st_size == entry.size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f'{path.name}.part')
    try:
        with entry.open() as content, aside.open('wb') as file:
            shutil.copyfileobj(_Bounded(content, entry.size), file, 1 << 20)
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


class _Bounded:
    """A stream cut one byte after its declared size, which detects a longer one at no cost."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size + 1

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data
