"""Downloading a publisher's file, resuming after an interruption."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tqdm import tqdm

from mmseg_encnet.checkpoints.whole_files import remove_leftovers, write_whole
from mmseg_encnet.errors import UserError
from mmseg_encnet.extras import require

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
    """

    url: str
    digest: str | None = None
    name: str = ''
    account: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, 'name', Path(urlsplit(self.url).path).name)

    @property
    def by_hand(self) -> str:
        """Advice when the file cannot be downloaded."""
        return (
            f'download {self.name} from {self.url} by hand into a folder and run again with '
            '--from FOLDER.'
        )


def fetch(file: PublishedFile, folder: Path) -> Path:
    """Download a file into a folder unless it is there, and return its path.

    The data are written to ``NAME.part``, which is renamed when it is complete and its checksum is
    correct. An interrupted download resumes if the publisher's file is unchanged; it restarts if
    the file has changed or the server does not support ranges.

    Raises:
        UserError: The file needs an account, cannot be downloaded or has another checksum, or
            requests is not installed.
    """
    target = folder / file.name
    part = _Part(folder / f'{file.name}.part', file.url)
    remove_leftovers(folder)
    if target.is_file():
        part.discard()
        return target
    if file.account:
        raise UserError(f'{file.name} needs an account; register at {file.url} and {file.by_hand}')
    requests = require('requests', 'data')
    folder.mkdir(parents=True, exist_ok=True)
    # Reconnect after a broken connection as long as each connection adds data.
    while True:
        size_before = part.size
        try:
            _fetch_rest(file, part)
            break
        except requests.HTTPError as error:
            status = error.response.status_code
            raise UserError(
                f'{file.url} cannot be downloaded (HTTP status {status}); {file.by_hand}'
            ) from error
        except (requests.RequestException, _ConnectionEnded) as error:
            if part.size <= size_before:
                raise UserError(
                    f'{file.url} cannot be downloaded ({type(error).__name__.lstrip("_")}); run '
                    f'again to resume, or {file.by_hand}'
                ) from error
    if file.digest:
        found = _digest(part.path, file.digest.partition(':')[0])
        if found != file.digest:
            part.discard()
            raise UserError(
                f'the checksum of {file.url} is {found}, expected {file.digest}; run again, or '
                f'{file.by_hand}'
            )
    part.path.replace(target)
    part.discard()
    return target


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm)
    with path.open('rb') as content:
        while block := content.read(1 << 20):
            digest.update(block)
    return f'{algorithm}:{digest.hexdigest()}'


class _ConnectionEnded(Exception):
    """The server sent fewer bytes than announced."""


class _Part:
    """An unfinished download, with the size and version of the complete file."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self._url = url
        # The part itself does not identify the version of the file.
        self._origin = path.with_name(f'{path.name}.json')

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def origin(self) -> dict | None:
        """Return validator and size of the complete file, or None if they are unknown."""
        try:
            origin = json.loads(self._origin.read_text())
            known = origin['url'] == self._url and origin['validator'] and origin['size']
            return origin if known and self.size else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, response: requests.Response) -> None:
        """Restart with the file of a response."""
        self.path.unlink(missing_ok=True)
        headers = response.headers
        etag = headers.get('ETag', '')
        # A weak entity tag does not guarantee equal bytes.
        validator = headers.get('Last-Modified') if etag.startswith('W/') or not etag else etag
        size = headers.get('Content-Length')
        origin = dict(url=self._url, validator=validator, size=size and int(size))
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
    with requests.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
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
        with (
            part.path.open('ab') as content,
            tqdm(
                desc=file.name,
                total=expected,
                initial=part.size,
                unit='B',
                unit_scale=True,
                unit_divisor=1024,
            ) as progress,
        ):
            for chunk in response.iter_content(_CHUNK):
                content.write(chunk)
                progress.update(len(chunk))
    if expected is not None and part.size != expected:
        raise _ConnectionEnded


def _continues(response: requests.Response, start: int, size: int) -> bool:
    """Return whether a partial response is exactly the rest of a file of that size."""
    return response.headers.get('Content-Range') == f'bytes {start}-{size - 1}/{size}'
