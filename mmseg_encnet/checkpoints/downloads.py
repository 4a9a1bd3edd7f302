"""Downloads of weights from the first of several addresses that works."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.logging import print_log

from mmseg_encnet.errors import UserError


class DownloadError(UserError):
    """None of a file's addresses works."""


def download(urls: Sequence[str], target: Path, check: Callable[[Path], object]) -> None:
    """Download a file from the first address that serves the expected content.

    Args:
        urls: Addresses of the same file, in the order in which to try them.
        target: Path of the file. Nothing incomplete or unchecked is ever stored there.
        check: Function of the path of the download that raises a :class:`UserError` saying what is
            wrong with it, as in ``'is not an intact zip file'``.

    Raises:
        DownloadError: No address works. The message lists all with their errors.
    """
    # Imported here because only a download needs it.
    from pooch import HTTPDownloader

    fetch = HTTPDownloader(progressbar=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f'{target.name}.{os.getpid()}.part')
    failures = []
    for url in urls:
        try:
            print_log(f'Downloading {url}', logger='current')
            fetch(url, str(part), None)
            check(part)
            part.replace(target)
            return
        except Exception as error:
            failures.append(f'{url}: {failure(error)}')
        finally:
            part.unlink(missing_ok=True)
    raise DownloadError(
        f'{target.name} cannot be downloaded ({"; ".join(failures)}); get it elsewhere and put it '
        f'at {target}'
    )


def failure(error: Exception) -> str:
    """Return why an address did not serve a file."""
    if isinstance(error, UserError):
        return f'the file {error}'
    status = getattr(getattr(error, 'response', None), 'status_code', None)
    return f'HTTP status {status}' if status else type(error).__name__
