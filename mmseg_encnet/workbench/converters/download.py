"""Fetching a publisher's file, going on where an interrupted download stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
from tqdm import tqdm

from mmseg_encnet.checkpoints.whole_files import remove_leftovers, write_whole
from mmseg_encnet.errors import UserError

# What has come of a chunk is lost when the connection breaks.
_CHUNK = 1 << 16
_TIMEOUT = (30, 60)


@dataclass(frozen=True)
class PublishedFile:
    """A file that a data set's publisher gives.

    Args:
        url: Address of the file; of the page that leads to it, if it needs an account.
        digest: Checksum that the publisher, or another project for the publisher's file, gives:
            ``'md5:...'``, ``'sha1:...'`` or ``'sha256:...'``; None if there is none.
        name: Name of the file; the last part of the address if not given.
        account: Whether only people with an account can fetch it, so that no program does.
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
        """What to do where it cannot be fetched."""
        return (
            f'download {self.name} from {self.url} by hand, put it into a folder and run again '
            'with --from FOLDER.'
        )


def fetch(file: PublishedFile, folder: Path) -> Path:
    """Path of a file in a folder, fetched unless it is there.

    The download grows in ``NAME.part`` and gets its name when it is complete and its checksum is
    right. An interrupted one goes on where it stopped if the publisher's file is still the same,
    and starts over if it changed or the server cannot send parts.

    Raises:
        UserError: If the file needs an account or cannot be fetched, or the checksum is wrong.
    """
    target = folder / file.name
    part = _Part(folder / f'{file.name}.part', file.url)
    remove_leftovers(folder)
    if target.is_file():
        part.discard()
        return target
    if file.account:
        raise UserError(f'{file.name} needs an account: register at {file.url}, {file.by_hand}')
    folder.mkdir(parents=True, exist_ok=True)
    # A connection that breaks is taken up again, for as long as each brings something.
    while True:
        size_before = part.size
        try:
            _fetch_rest(file, part)
            break
        except requests.HTTPError as error:
            status = error.response.status_code
            raise UserError(
                f'{file.url} cannot be fetched (the server answers {status}); {file.by_hand}'
            ) from error
        except (requests.RequestException, _ConnectionEnded) as error:
            if part.size <= size_before:
                raise UserError(
                    f'{file.url} cannot be fetched ({type(error).__name__.lstrip("_")}); run again '
                    f'to go on, or {file.by_hand}'
                ) from error
    if file.digest:
        algorithm = file.digest.partition(':')[0]
        found = f'{algorithm}:{pooch.file_hash(str(part.path), algorithm)}'
        if found != file.digest:
            part.discard()
            raise UserError(
                f'{file.name} came from {file.url} with {found}, published is '
                f'{file.digest}; run again, or {file.by_hand}'
            )
    part.path.replace(target)
    part.discard()
    return target


class _ConnectionEnded(Exception):
    """The server sent less than it announced."""


class _Part:
    """A download under way, and what is known of the file it is a part of."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self._url = url
        # Beside the part, because the part alone does not tell which version it belongs to.
        self._origin = path.with_name(f'{path.name}.json')

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def origin(self) -> dict | None:
        """Validator and size of the file that the part belongs to; None if that is not known."""
        try:
            origin = json.loads(self._origin.read_text())
            known = origin['url'] == self._url and origin['validator'] and origin['size']
            return origin if known and self.size else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, response: requests.Response) -> None:
        """Start over with the file that a response brings."""
        self.path.unlink(missing_ok=True)
        headers = response.headers
        etag = headers.get('ETag', '')
        # A weak entity tag does not promise equal bytes, so it cannot guard a part.
        validator = headers.get('Last-Modified') if etag.startswith('W/') or not etag else etag
        size = headers.get('Content-Length')
        origin = dict(url=self._url, validator=validator, size=size and int(size))
        write_whole(self._origin, json.dumps(origin).encode())

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)


def _fetch_rest(file: PublishedFile, part: _Part) -> None:
    """One connection: what is missing of a file, or all of it if the part is of no use."""
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
    """Whether a partial response is exactly the missing rest of a file of that size."""
    return response.headers.get('Content-Range') == f'bytes {start}-{size - 1}/{size}'
