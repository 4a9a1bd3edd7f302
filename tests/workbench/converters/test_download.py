"""Downloads that break, resume, change in the meantime or are not available."""

from __future__ import annotations

import hashlib
import random
import re
import time

import killable
import pytest
from range_server import serve

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters import download
from mmseg_encnet.workbench.converters.download import PublishedFile, fetch

CONTENT = random.Random(0).randbytes(3_000_000)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    with serve() as running:
        running.content = CONTENT
        yield running


def published(server, digest: str | None = None) -> PublishedFile:
    return PublishedFile(f'{server.url}data/archive.tar?version=1', digest)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def interrupt(server, folder) -> int:
    """Leave a part of the file, like an interrupted download, and return its size in bytes."""
    server.break_after = 1_000_000
    server.ranges, ranges = False, server.ranges
    with pytest.raises(UserError, match='run again to resume'):
        fetch(published(server), folder)
    server.ranges, server.break_after = ranges, None
    server.asked.clear()
    return (folder / 'archive.tar.part').stat().st_size


@pytest.mark.parametrize('algorithm', ['md5', 'sha1', 'sha256'])
def test_fetched_checked_and_kept(server, tmp_path, algorithm):
    digest = f'{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}'
    path = fetch(published(server, digest), tmp_path / 'downloads')
    assert path.read_bytes() == CONTENT
    assert names(tmp_path / 'downloads') == ['archive.tar']
    assert fetch(published(server, digest), tmp_path / 'downloads') == path
    assert server.asked == [None]


def test_goes_on_when_the_connection_breaks(server, tmp_path):
    server.break_after = 1_300_000
    assert fetch(published(server), tmp_path).read_bytes() == CONTENT
    starts = [int(asked[6:-1]) for asked in server.asked[1:]]
    assert 1_000_000 < starts[0] <= 1_300_000 < 2_000_000 < starts[1] <= 2_600_000
    assert names(tmp_path) == ['archive.tar']


def test_goes_on_after_being_killed(server, tmp_path):
    server.break_after, server.hang = 2_500_000, True
    process = killable.start(fetch, published(server), tmp_path)
    part = tmp_path / 'archive.tar.part'
    while not part.is_file() or not part.stat().st_size:
        time.sleep(0.01)
    process.kill()
    process.join()
    size = part.stat().st_size
    server.break_after, server.hang = None, False
    assert fetch(published(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f'bytes={size}-']


def test_complete_part_is_not_asked_for_again(server, tmp_path):
    interrupt(server, tmp_path)
    (tmp_path / 'archive.tar.part').write_bytes(CONTENT)
    assert fetch(published(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == []


@pytest.mark.parametrize(
    'left',
    [
        ['archive.tar.part.json.123.part'],
        ['archive.tar', 'archive.tar.part.json'],
    ],
    ids=['killed while it noted the origin', 'killed before it forgot the origin'],
)
def test_what_a_killed_download_left_is_removed(server, tmp_path, left):
    for name in left:
        (tmp_path / name).write_bytes(CONTENT)
    assert fetch(published(server), tmp_path).read_bytes() == CONTENT
    assert names(tmp_path) == ['archive.tar']


@pytest.mark.parametrize(
    'headers',
    [
        {'ETag': '"1"'},
        {'Last-Modified': 'Mon, 11 May 2012 00:00:00 GMT'},
        {'ETag': 'W/"1"', 'Last-Modified': 'Mon, 11 May 2012 00:00:00 GMT'},
    ],
    ids=['etag', 'date', 'weak etag'],
)
def test_what_can_be_validated_goes_on(server, tmp_path, headers):
    server.headers = headers
    size = interrupt(server, tmp_path)
    assert fetch(published(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [f'bytes={size}-']


@pytest.mark.parametrize(
    'case',
    [
        'changed',
        'smaller',
        'no ranges',
        'no validator',
        'weak validator',
        'part too long',
        'unreadable origin',
        'other address',
    ],
)
def test_starts_over_rather_than_glue(server, tmp_path, case):
    server.headers = {'no validator': {}, 'weak validator': {'ETag': 'W/"1"'}}.get(
        case, server.headers
    )
    interrupt(server, tmp_path)
    part, file = tmp_path / 'archive.tar.part', published(server)
    if case == 'changed':
        server.content, server.headers = CONTENT[::-1], {'ETag': '"2"'}
    elif case == 'smaller':
        # The server changes the file but not its tag.
        server.content = CONTENT[:2_000_000][::-1]
    elif case == 'no ranges':
        server.ranges = False
    elif case == 'part too long':
        part.write_bytes(CONTENT + CONTENT)
    elif case == 'unreadable origin':
        (tmp_path / 'archive.tar.part.json').write_text('[')
    elif case == 'other address':
        file = PublishedFile(f'{server.url}mirror/archive.tar')
    assert fetch(file, tmp_path).read_bytes() == server.content
    assert names(tmp_path) == ['archive.tar']


def test_wrong_checksum(server, tmp_path):
    file = published(server, f'sha1:{"0" * 40}')
    with pytest.raises(UserError) as error:
        fetch(file, tmp_path)
    found = hashlib.sha1(CONTENT).hexdigest()
    assert found in str(error.value) and '0' * 40 in str(error.value)
    assert '--from' in str(error.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    'broken, reason',
    [
        (dict(status=404), 'HTTP status 404'),
        (dict(hang=True, break_after=0), 'ReadTimeout|ConnectionError'),
        (dict(content=CONTENT[::-1]), 'checksum sha1:.*expected sha1:'),
        (dict(break_after=0), 'ChunkedEncodingError|connection closed'),
        (None, 'ConnectionError'),
    ],
    ids=['404', 'timeout', 'wrong checksum', 'cut off', 'gone'],
)
def test_the_next_address_is_tried(server, tmp_path, broken, reason, monkeypatch):
    monkeypatch.setattr(download, '_TIMEOUT', (1, 1))
    digest = f'sha1:{hashlib.sha1(CONTENT).hexdigest()}'
    with serve() as first:
        first.content = CONTENT
        for name, value in (broken or {}).items():
            setattr(first, name, value)
        urls = [f'{first.url}archive.tar', f'{server.url}archive.tar']
        file = PublishedFile(urls[0], digest, mirrors=(urls[1],))
        if broken is None:
            first.close()
        assert fetch(file, tmp_path / 'one').read_bytes() == CONTENT
        assert names(tmp_path / 'one') == ['archive.tar']
        # When all fail, one sentence lists each address with its error.
        server.status = 503
        with pytest.raises(UserError) as error:
            fetch(file, tmp_path / 'all')
    sentence = str(error.value)
    assert re.search(rf'\({re.escape(urls[0])}: ({reason})', sentence), sentence
    assert f'; {urls[1]}: HTTP status 503)' in sentence
    assert re.search(r'docs/datasets\.md.*--from FOLDER\.$', sentence)
    assert not (tmp_path / 'all' / 'archive.tar').exists()


def test_mirrors_need_a_checksum():
    with pytest.raises(ValueError, match='need a digest'):
        PublishedFile('https://example.org/a.tar', mirrors=('https://example.com/a.tar',))


@pytest.mark.parametrize('status', [403, 404, 503])
def test_refused(server, tmp_path, status):
    size = interrupt(server, tmp_path)
    server.status = status
    with pytest.raises(UserError, match=rf'{status}.*archive\.tar.*by hand.*--from'):
        fetch(published(server), tmp_path)
    # The part is kept and used once the server works again.
    server.status = None
    assert fetch(published(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == f'bytes={size}-'


def test_offline(tmp_path, monkeypatch):
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    with serve() as gone:
        file = published(gone)
    with pytest.raises(UserError, match=r'ConnectionError.*archive\.tar.*by hand.*--from'):
        fetch(file, tmp_path)
    assert not (tmp_path / 'archive.tar').exists()


def test_account(tmp_path):
    file = PublishedFile('https://example.org/downloads/', name='fine.zip', account=True)
    with pytest.raises(UserError, match=r'fine\.zip needs an account.*example\.org.*--from'):
        fetch(file, tmp_path)
