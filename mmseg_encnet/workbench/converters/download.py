"""Downloading a publisher's file, resuming after an interruption."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mmseg_encnet.errors import UserError
from mmseg_encnet.extras import require
from mmseg_encnet.plain_json import parse_json
from mmseg_encnet.workbench.converters.archives import byte_bar

if TYPE_CHECKING:
    import requests

# An incomplete chunk is lost when the connection breaks.
_CHUNK = 1 << 16
_TIMEOUT = (30, 60)


@dataclass(frozen=True)
class PublishedFile:
    """A file of a data set's publisher.

    Args:
        url: Address of the file or, if it needs an account, of the page that links to it.
        digest: Checksum published for the file, by its publisher or by another project:
            ``'md5:...'``, ``'sha1:...'`` or ``'sha256:...'``; None if there is none.
        name: Name of the file; default: the last part of the address.
        account: Whether the download needs an account, so that it has to be done by hand.
        mirrors: Other addresses of the same file, tried in turn. They need a checksum, because
            the publisher does not control them.
    """

    url: str
    digest: str | None = None
    name: str = ''
    account: bool = False
    mirrors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mirrors and not self.digest:
            raise ValueError(f'the mirrors of {self.url} need a digest.')
        if not self.name:
            object.__setattr__(self, 'name', Path(urlsplit(self.url).path).name)

    @property
    def urls(self) -> tuple[str, ...]:
        """All addresses, in the order in which to try them."""
        return self.url, *self.mirrors


def check_accounts(files: Iterable[PublishedFile], folder: Path) -> None:
    """Check that the files that need an account are in a folder.

    Raises:
        UserError: Some are missing; the message names all, for one visit to the publisher's site.
    """
    missing = [file for file in files if file.account and not (folder / file.name).is_file()]
    if missing:
        names = ' and '.join(file.name for file in missing)
        raise UserError(
            f'{names} need{"s" * (len(missing) == 1)} an account; register at {missing[0].url}, '
            f'download {names} by hand into a folder and run again with --from FOLDER.'
        )


def fetch(file: PublishedFile, folder: Path) -> Path:
    """Download a file into a folder, unless it exists, and return its path.

    The data are written to ``NAME.part``, which is renamed when it is complete and its checksum is
    correct. An interrupted download resumes if the publisher's file is unchanged; it restarts if
    the file has changed or the server does not support ranges. Mirrors are tried in turn.

    Raises:
        UserError: The file needs an account, no address serves it with the expected checksum, or
            requests is not installed.
    """
    from mmseg_encnet.checkpoints.downloads import failure
    from mmseg_encnet.checkpoints.whole_files import remove_leftovers

    target = folder / file.name
    path = folder / f'{file.name}.part'
    remove_leftovers(folder)
    if target.is_file():
        _Part(path, file.url).discard()
        return target
    check_accounts([file], folder)
    requests = require('requests', 'data')
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in file.urls:
        part = _Part(path, url)
        try:
            _fetch_all(file, part)
            _check(file, part)
        except (requests.RequestException, _Failure) as error:
            reason = error if isinstance(error, _Failure) else failure(error)
            failures.append(f'{url}: {reason}')
        else:
            part.path.replace(target)
            part.discard()
            return target
    resume = 'run again to resume, or ' if _Part(path, file.url).size else ''
    raise UserError(
        f'{file.name} cannot be downloaded ({"; ".join(failures)}); {resume}get {file.name} by '
        'hand, check it as docs/datasets.md describes, put it into a folder and run again with '
        '--from FOLDER.'
    )


def _fetch_all(file: PublishedFile, part: _Part) -> None:
    """Download a file, reconnecting as long as each connection adds data."""
    requests = require('requests', 'data')
    # What another address left is not progress.
    size = part.size if part.origin() else 0
    while True:
        try:
            return _fetch_rest(file, part)
        except requests.HTTPError:
            raise
        except (requests.RequestException, _Failure):
            if part.size <= size:
                raise
            size = part.size


def _check(file: PublishedFile, part: _Part) -> None:
    # Imported here because only a download needs it.
    from pooch import file_hash

    algorithm, _, expected = (file.digest or '').partition(':')
    if expected and (found := file_hash(str(part.path), algorithm)) != expected:
        part.discard()
        raise _Failure(f'checksum {algorithm}:{found}, expected {file.digest}')


class _Failure(Exception):
    """A failed download that HTTP does not report as such."""


class _Part:
    """An unfinished download, with the size and version of the complete file."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url
        # The part itself does not identify the version of the file.
        self._origin = path.with_name(f'{path.name}.json')

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def origin(self) -> dict | None:
        """Return validator and size of the complete file, or None if they are unknown."""
        try:
            origin = parse_json(self._origin.read_text('utf-8'))
            known = origin['url'] == self.url and origin['validator'] and origin['size']
            return origin if known and self.size else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, response: requests.Response) -> None:
        """Restart with the file of a response."""
        from mmseg_encnet.checkpoints.whole_files import write_whole

        self.path.unlink(missing_ok=True)
        headers = response.headers
        etag = headers.get('ETag', '')
        # A weak entity tag does not guarantee equal bytes.
        validator = headers.get('Last-Modified') if etag.startswith('W/') or not etag else etag
        size = headers.get('Content-Length')
        origin = dict(url=self.url, validator=validator, size=size and int(size))
        write_whole(self._origin, json.dumps(origin).encode())

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)


def _fetch_rest(file: PublishedFile, part: _Part) -> None:
    """Download the rest of a file over one connection, or all of it if the part is unusable."""
    requests = require('requests', 'data')
    origin = part.origin()
    headers = {'Accept-Encoding': 'identity'}
    if origin:
        if part.size == origin['size']:
            return
        headers |= {'Range': f'bytes={part.size}-', 'If-Range': origin['validator']}
    with requests.get(part.url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        status = response.status_code
        refused = status == requests.codes.requested_range_not_satisfiable
        strange = status == requests.codes.partial_content and not (
            origin and _continues(response, part.size, origin['size'])
        )
        if origin and (refused or strange):
            part.discard()
            return _fetch_rest(file, part)
        response.raise_for_status()
        if status != requests.codes.partial_content:
            part.begin(response)
        size = response.headers.get('Content-Length')
        expected = part.size + int(size) if size else None
        bar = byte_bar(file.name, expected, part.size)
        with part.path.open('ab') as content, bar:
            for chunk in response.iter_content(_CHUNK):
                content.write(chunk)
                bar.update(len(chunk))
    if expected is not None and part.size != expected:
        raise _Failure(f'connection closed after {part.size} of {expected} bytes')


def _continues(response: requests.Response, start: int, size: int) -> bool:
    """Return whether a partial response is exactly the rest of a file of that size."""
    return response.headers.get('Content-Range') == f'bytes {start}-{size - 1}/{size}'
