"""The uploaded photographs: in a folder of this process, each deleted as soon as it is read."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmseg_encnet.errors import UserError

try:
    import fcntl
except ImportError:  # Not on Windows, where open files cannot be deleted either.
    fcntl = None

PREFIX = 'mmseg-encnet-page-'
# Gradio's setting of the folder of uploads.
_VARIABLE = 'GRADIO_TEMP_DIR'


@contextmanager
def private_folder() -> Iterator[Path]:
    """Keep all temporary files of this process in a folder that is deleted at the end.

    The folders of earlier processes that were killed are deleted, too: a process holds a lock on
    its folder, which ends with it.
    """
    delete_remains()
    former = tempfile.tempdir, os.environ.get(_VARIABLE)
    folder = Path(tempfile.mkdtemp(prefix=f'{PREFIX}{os.getpid()}-')).resolve()
    lock = (folder / 'lock').open('w')
    try:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        uploads = folder / 'uploads'
        uploads.mkdir()
        tempfile.tempdir, os.environ[_VARIABLE] = str(folder), str(uploads)
        yield uploads
    finally:
        tempfile.tempdir = former[0]
        os.environ.pop(_VARIABLE, None)
        if former[1] is not None:
            os.environ[_VARIABLE] = former[1]
        # Released last, so that no other process deletes the folder at the same time.
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def delete_remains() -> None:
    """Delete the folders that killed processes of this user have left."""
    for folder in Path(tempfile.gettempdir()).glob(f'{PREFIX}*'):
        try:
            ours = not hasattr(os, 'getuid') or folder.lstat().st_uid == os.getuid()
            if ours and not folder.is_symlink() and _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            # Another process has deleted it.
            continue


class Uploads:
    """The uploads that are waiting to be read.

    Files of the same content and name share a path, so they are counted.

    Args:
        folder: Folder of the uploads.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._waiting: Counter[Path] = Counter()
        self._lock = threading.Lock()

    def add(self, path: str) -> None:
        """Register an upload that is complete."""
        with self._lock:
            self._waiting[Path(path)] += 1

    def has(self, path: object) -> bool:
        """Return whether a path is that of an upload that waits to be read."""
        with self._lock:
            return isinstance(path, str) and self._waiting[Path(path)] > 0

    @contextmanager
    def taken(self, path: str) -> Iterator[Path]:
        """Give access to an upload, and delete it afterwards.

        Raises:
            UserError: It is not one that has been registered.
        """
        file = Path(path)
        if not self.has(path) or not file.is_file():
            raise UserError('the uploaded photograph is no longer available; upload it again.')
        try:
            yield file
        finally:
            with self._lock:
                self._waiting[file] -= 1
                if self._waiting[file] <= 0:
                    del self._waiting[file]
                    file.unlink(missing_ok=True)
                    with suppress(OSError):
                        # Another name of the same content may be in it.
                        file.parent.rmdir()

    def delete_parts(self) -> None:
        """Delete the files that are in no folder: parts of uploads, and what Gradio leaves."""
        for entry in self.folder.iterdir():
            if entry.is_file():
                entry.unlink(missing_ok=True)

    def size(self) -> int:
        """Return the size of all uploads in bytes."""
        return sum(path.stat().st_size for path in self.folder.rglob('*') if path.is_file())


def _is_abandoned(folder: Path) -> bool:
    """Return whether the process of a folder has ended."""
    try:
        with (folder / 'lock').open('r+') as lock:
            if fcntl is None:
                return False
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except FileNotFoundError:
        # Killed, or about to create its lock.
        number = folder.name.removeprefix(PREFIX).partition('-')[0]
        return number.isdigit() and not _is_running(int(number))
    except OSError:
        return False


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
