"""Report in one sentence why a file or folder cannot be used."""

from __future__ import annotations

import errno
import os
import re
import traceback
from pathlib import Path

from mmseg_encnet.errors import UserError, printable

SHARED_MEMORY = Path('/dev/shm')
# Memory of PyTorch and of Python, and semaphores. Users can have their own files there.
_SHARED_NAMES = re.compile(rf'{SHARED_MEMORY}/(torch_|psm_|pym-|pymp-|sem\.)')
# What is wrong, with the operating system's reason, and what to do.
_ADVICE = {
    errno.ENOSPC: ('cannot be written ({})', 'free space on its disk'),
    errno.EDQUOT: ('cannot be written ({})', 'free space on its disk'),
    errno.EROFS: ('cannot be written ({})', 'choose a path on another file system'),
    errno.EACCES: ('cannot be used ({})', 'change its permissions or choose another path'),
    errno.EPERM: ('cannot be used ({})', 'choose another path'),
    errno.ENOENT: ('cannot be used ({})', 'check the path'),
    errno.ENOTDIR: ('is or lies below a file where a folder is expected', 'choose another path'),
    errno.EEXIST: ('exists and is not a folder', 'choose another path'),
    errno.EISDIR: ('is a folder where a file is expected', 'choose another path'),
    errno.ENAMETOOLONG: ('has a name that is too long for the file system', 'shorten it'),
    errno.EMFILE: ('cannot be opened ({})', 'raise the limit with ulimit -n'),
    errno.ENFILE: ('cannot be opened ({})', 'end other processes'),
}
_WITHOUT_FILE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO)
_LONGEST_PATH = 150


def shown(path: object) -> str:
    """Return a path or other text for a message, without its middle if it is long."""
    text = printable(os.fsdecode(path) if isinstance(path, (bytes, os.PathLike)) else path)
    if len(text) <= _LONGEST_PATH:
        return text
    return f'{text[: _LONGEST_PATH // 3]}...{text[-2 * _LONGEST_PATH // 3 :]}'


def explain_os_error(error: OSError) -> str | None:
    """Return the sentence for an error of the operating system, or None if it is not about a file.

    Semaphores and memory that processes share are files in ``/dev/shm``, which such an error does
    not name.
    """
    if error.errno is None:
        return None
    if is_shared_memory(error):
        return shared_memory_sentence(str(error.strerror))
    if error.filename is None and error.errno not in _WITHOUT_FILE:
        return None
    file = 'a file' if error.filename is None else shown(error.filename)
    problem, advice = _ADVICE.get(error.errno, ('cannot be used ({})', 'check its disk'))
    return f'{file} {problem.format(error.strerror)}; {advice}.'


def shared_memory_sentence(reason: str) -> str:
    """Return the sentence for shared memory that cannot be used."""
    return (
        f'shared memory ({SHARED_MEMORY}), which processes use to exchange batches, cannot be '
        f'written ({reason}); enlarge it or make it writable (in a container, --shm-size=8g), or '
        'work in one process with num_workers=0 of every data loader, or --jobs 1.'
    )


def check_folder(path: str | Path, kind: str = 'output folder') -> None:
    """Check that a folder can be created, or written to if it exists, without creating it.

    Raises:
        UserError: The path leads to or through a file, or the folder is not writable.
    """
    nearest = Path(path).absolute()
    try:
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        if not os.access(nearest, os.W_OK | os.X_OK):
            read_only = hasattr(os, 'statvfs') and os.statvfs(nearest).f_flag & os.ST_RDONLY
            number = errno.EROFS if read_only else errno.EACCES
            raise OSError(number, os.strerror(number), str(path))
    except OSError as error:
        raise UserError(f'{kind} {explain_os_error(error)}') from error


def check_file(path: str | Path) -> None:
    """Check that an output file can be written, without writing it; for use before hours of work.

    Raises:
        UserError: The path is a folder, or its folder cannot be written to.
    """
    path = Path(path)
    check_folder(path.parent, f'folder of output file {shown(path.name)}:')
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    except OSError as error:
        raise UserError(f'output file {explain_os_error(error)}') from error


def is_shared_memory(error: OSError) -> bool:
    """Return whether an error concerns semaphores or memory that processes share."""
    if error.filename is not None:
        return _SHARED_NAMES.match(os.fsdecode(error.filename)) is not None
    files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    return bool(files) and files[-1].match('multiprocessing/*.py')
