"""The server of the demo page, with requests that a browser would not send."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import huge_images
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from waiting import free_port, wait_for

from mmseg_encnet.predicting import Segmentor

pytest.importorskip('gradio', reason='gradio is not installed')

from mmseg_encnet.workbench.demo_page import gate, page, server
from mmseg_encnet.workbench.demo_page.uploads import PREFIX, private_folder

PNG = huge_images.png(64, 48)
TYPE = {'Content-Type': 'multipart/form-data; boundary=x'}
JSON = {'Content-Type': 'application/json'}


class Painter(Segmentor):
    """A segmentor that labels every pixel with class 0, when it may."""

    begin = threading.Semaphore(1000)

    def predict(self, image, context_maps=False, seg_logits=False) -> SegDataSample:
        with self.begin:
            pass
        height, width = image.results['img'].shape[:2]
        labels = torch.zeros(1, height, width, dtype=torch.int64)
        return SegDataSample(pred_sem_seg=PixelData(data=labels))


class Client:
    """Raw requests to a server on this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)

    def __call__(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        headers = {name.replace('_', '-'): value for name, value in headers.items()}
        with closing(self.connect()) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read()

    def upload(self, content: bytes = PNG, name: str = 'p.png') -> str:
        status, _, answer = self('POST', gate._UPLOAD_PATH, form(content, name), **TYPE)
        assert status == 200, answer
        return json.loads(answer)[0]

    def show(self, path: str, session: str = 'one') -> int:
        """Ask for the labels of an upload; the answer is an event of the session."""
        data = [dict(path=path, meta=dict(_type='gradio.FileData')), 0]
        body = json.dumps(dict(data=data, fn_index=0, session_hash=session)).encode()
        return self('POST', '/gradio_api/queue/join', body, **JSON)[0]

    def results(self, session: str = 'one') -> str:
        """Return the results of a session's event, as soon as they arrive."""
        with closing(self.connect()) as connection:
            connection.request('GET', f'/gradio_api/queue/data?session_hash={session}')
            answer = connection.getresponse()
            while line := answer.readline().decode():
                if 'process_completed' in line:
                    return line
        raise AssertionError('no results')


def form(content: bytes, name: str) -> bytes:
    """Return an upload form with one file."""
    header = f'Content-Disposition: form-data; name="files"; filename="{name}"'
    return f'--x\r\n{header}\r\n\r\n'.encode() + content + b'\r\n--x--\r\n'


def painter(**options: Any) -> Painter:
    init_default_scope('mmseg')
    pipeline = Compose([dict(type='LoadImageFromFile'), dict(type='PackSegInputs')])
    return Painter(torch.nn.Identity(), pipeline, ('sea',), [[1, 2, 3]], **options)


@pytest.fixture(scope='module')
def temporary(tmp_path_factory) -> Iterator[Path]:
    """Let all temporary files of this process be created in a folder of this module."""
    folder, former = tmp_path_factory.mktemp('temporary').resolve(), tempfile.tempdir
    tempfile.tempdir = str(folder)
    yield folder
    tempfile.tempdir = former


@pytest.fixture(scope='module')
def client(temporary) -> Iterator[Client]:
    port = int(free_port())
    with server.serve(painter(max_pixels=10**6), 'a model', port=port):
        yield Client(port)


@pytest.fixture(autouse=True)
def nothing_is_left(temporary, client) -> Iterator[None]:
    """No test leaves an upload."""
    yield
    wait_for(lambda: photographs(temporary) == [])


def photographs(folder: Path) -> list[Path]:
    """Return the files that are not the lock of a page, and not empty."""
    return [path for path in folder.rglob('*') if path.is_file() and path.stat().st_size]


def test_a_photograph_is_deleted_once_it_is_labelled(client, temporary):
    path = client.upload()
    assert Path(path).read_bytes() == PNG
    assert [temporary in folder.parents for folder in Path(path).parents].count(True) >= 2
    assert client.show(path) == 200
    assert 'p.png' in client.results()
    wait_for(lambda: not Path(path).exists())
    # Its path means nothing any more.
    assert client.show(path) == 400


def test_two_users_with_the_same_photograph(client):
    one, other = client.upload(), client.upload()
    assert one == other
    for session in ('one', 'other'):
        assert client.show(one, session) == 200
        assert 'em-figure' in client.results(session)


@pytest.mark.parametrize('host', ['localhost', '127.0.0.1', 'LOCALHOST.', '[::1]', 'localhost:80'])
def test_names_of_this_machine(host, client):
    assert client('GET', '/', Host=host)[0] == 200


@pytest.mark.parametrize(
    'host',
    ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example', '10.0.0.1', '', '0.0.0.0'],
)
@pytest.mark.parametrize(
    'method, path', [('GET', '/'), ('GET', '/config'), ('POST', gate._UPLOAD_PATH)]
)
def test_other_names(host, method, path, client):
    """As a browser sends them whose resolver has been made to answer with this machine."""
    status, _, answer = client(method, path, form(PNG, 'p.png'), Host=host, **TYPE)
    assert (status, b'--allowed-host NAME' in answer) == (421, True)


def test_two_names_or_none(client):
    for hosts in ('', 'Host: localhost\r\nHost: evil.example\r\n'):
        with socket.create_connection(('127.0.0.1', client.port), timeout=20) as connection:
            connection.sendall(f'GET / HTTP/1.1\r\n{hosts}\r\n'.encode())
            assert connection.recv(100).startswith((b'HTTP/1.1 421', b'HTTP/1.1 400'))


FOREIGN = [
    dict(Origin='http://evil.example'),
    dict(Origin='null'),
    dict(Origin='http://localhost:3000'),
    dict(Origin='file://'),
    dict(Sec_Fetch_Site='cross-site', Sec_Fetch_Mode='no-cors', Sec_Fetch_Dest='image'),
    dict(Sec_Fetch_Site='same-site', Sec_Fetch_Mode='cors'),
    # A form that posts, and a frame.
    dict(Sec_Fetch_Site='cross-site', Sec_Fetch_Mode='navigate', Sec_Fetch_Dest='iframe'),
]


@pytest.mark.parametrize('headers', FOREIGN, ids=str)
@pytest.mark.parametrize(
    'method, path',
    [
        ('POST', gate._UPLOAD_PATH),
        ('POST', '/gradio_api/queue/join'),
        ('GET', '/gradio_api/queue/data?session_hash=one'),
        ('GET', '/config'),
        ('OPTIONS', '/gradio_api/queue/join'),
    ],
)
def test_other_pages(headers, method, path, client):
    asked = dict(Access_Control_Request_Method='POST') if method == 'OPTIONS' else {}
    status, answered, _ = client(method, path, b'', **headers, **asked)
    assert status == 403
    assert not [name for name in answered if name.startswith('access-control')]


def test_the_page_itself(client):
    own = dict(Origin=f'http://127.0.0.1:{client.port}', Sec_Fetch_Site='same-origin')
    status, headers, _ = client('GET', '/config', **own)
    assert status == 200
    assert not [name for name in headers if name.startswith('access-control')]
    assert headers['x-frame-options'] == 'DENY'
    # A link on another page may open it.
    link = dict(Sec_Fetch_Site='cross-site', Sec_Fetch_Mode='navigate', Sec_Fetch_Dest='document')
    assert client('GET', '/', **link)[0] == 200


def test_names_and_addresses_that_are_allowed():
    def allowed(host: str, name: str, *more: str) -> bool:
        return gate.Gate(None, None, host, more)._is_allowed(name)

    assert allowed('0.0.0.0', '10.0.0.1:7860') and allowed('::', '[fe80::1]:80')
    assert allowed('demo.example', 'demo.example:7860')
    assert allowed('127.0.0.1', 'proxy.example', 'proxy.example')
    assert not allowed('0.0.0.0', 'evil.example') and not allowed('127.0.0.1', '127.0.0.2')


@pytest.mark.parametrize('path', ['/etc/passwd', 'http://127.0.0.1:1/x.png', '../../x.png', 'x'])
def test_files_that_were_not_uploaded(path, client):
    assert client.show(path) == 400
    assert client('GET', f'/gradio_api/file={path}')[0] in (403, 404)


@pytest.mark.parametrize('declared', [True, False])
@pytest.mark.parametrize(
    'path, limit',
    [
        (gate._UPLOAD_PATH, gate.MAX_UPLOAD),
        (gate._UPLOAD_PATH + '/', gate.MAX_BODY),
        ('/gradio_api/queue/join', gate.MAX_BODY),
    ],
)
def test_sizes_of_requests(path, limit, declared, client):
    content = form(bytes(limit), 'p.png')
    if declared:
        # The answer comes before the content.
        with socket.create_connection(('127.0.0.1', client.port), timeout=20) as connection:
            head = f'POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}'
            connection.sendall(f'{head}\r\n\r\n'.encode())
            assert connection.recv(100).startswith(b'HTTP/1.1 413')
        return
    pieces = (content[start : start + 2**20] for start in range(0, len(content), 2**20))
    with closing(client.connect()) as connection:
        try:
            connection.request('POST', path, pieces, TYPE, encode_chunked=True)
        except OSError:
            # The connection is closed while the rest is sent.
            return
        assert connection.getresponse().status == 413


def test_aborted_uploads(client, temporary):
    content = form(PNG * 1000, 'p.png')
    head = f'POST {gate._UPLOAD_PATH} HTTP/1.1\r\nHost: localhost\r\n'
    head += f'Content-Type: {TYPE["Content-Type"]}\r\nContent-Length: {len(content)}\r\n\r\n'
    for _ in range(5):
        with socket.create_connection(('127.0.0.1', client.port)) as connection:
            connection.sendall(head.encode() + content[: len(content) // 2])
            assert photographs(temporary) == []
    # Complete, but without the end of the form.
    for body in (content[:-20], b'nothing', b''):
        client('POST', gate._UPLOAD_PATH, body, **TYPE)
    assert photographs(temporary) == []


def test_a_queue_that_is_full(client, monkeypatch):
    monkeypatch.setattr(Painter, 'begin', threading.Semaphore(0))
    sessions = [f'session{index}' for index in range(page.PHOTOGRAPHS_WAITING + 3)]
    for index, session in enumerate(sessions):
        assert client.show(client.upload(PNG, f'{index}.png'), session) == 200
    answers: list[str] = []
    readers = [
        threading.Thread(target=lambda session=session: answers.append(client.results(session)))
        for session in sessions
    ]
    for reader in readers:
        reader.start()
    # One is labelled and some wait; the others are answered at once.
    wait_for(lambda: len(answers) == 2)
    assert all('Too many photographs are waiting; upload it again' in text for text in answers)
    Painter.begin.release(100)
    for reader in readers:
        reader.join(30)
    assert len(answers) == len(sessions)
    assert sum('em-figure' in text for text in answers) == len(sessions) - 2


def test_uploads_that_wait_are_bounded(client, monkeypatch):
    path = client.upload()
    monkeypatch.setattr(gate, 'MAX_WAITING', 10)
    status, _, answer = client('POST', gate._UPLOAD_PATH, form(PNG, 'p.png'), **TYPE)
    assert (status, answer) == (503, b'Too many uploads at once; try again in a minute.')
    client.show(path)
    client.results()


def test_a_photograph_that_is_too_large(client):
    content = huge_images.png(32000, 32000, rows=40)
    client.show(client.upload(content, 'huge.png'))
    sentence = 'huge.png has 32000x32000 pixels (height x width), which exceeds the limit of '
    assert f'{sentence}1,000,000 pixels; shrink it, or choose another photograph.' in (
        client.results()
    )


def serve_until_stopped(port: int) -> None:
    with server.until_stopped() as stopped, server.serve(painter(), 'a model', port=port):
        stopped.wait()


@pytest.mark.skipif(sys.platform == 'win32', reason='signals')
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_nothing_is_left_by_a_server_that_ends(number, temporary, client):
    port = int(free_port())
    process = multiprocessing.get_context('fork').Process(target=serve_until_stopped, args=(port,))
    process.start()
    other = Client(port)

    def answers() -> bool:
        try:
            return other('GET', '/config')[0] == 200
        except OSError:
            return False

    wait_for(answers)
    path = other.upload()
    # An event stream does not delay the end.
    stream = other.connect()
    stream.request('GET', '/gradio_api/heartbeat/one')
    os.kill(process.pid, number)
    process.join(20)
    stream.close()
    folder = Path(path).parents[2]
    assert folder.name.startswith(f'{PREFIX}{process.pid}-')
    if number == signal.SIGKILL:
        assert Path(path).is_file()
        # The next server deletes it, and not what belongs to one that runs.
        running = [entry for entry in temporary.iterdir() if entry != folder]
        with private_folder():
            assert not folder.exists() and all(entry.exists() for entry in running)
    else:
        assert process.exitcode == 0
    assert not folder.exists()


def test_remains_that_are_not_ours(temporary):
    target = temporary / 'elsewhere'
    target.mkdir()
    link = temporary / f'{PREFIX}1-link'
    link.symlink_to(target)
    running = temporary / f'{PREFIX}{os.getpid()}-without lock'
    running.mkdir()
    before = tempfile.gettempdir()
    with private_folder() as folder:
        assert link.is_symlink() and target.is_dir() and running.is_dir()
        assert (folder.parent.stat().st_mode & 0o077) == 0
        assert tempfile.gettempdir() != before
    assert tempfile.gettempdir() == before and not folder.exists()
    link.unlink()
    running.rmdir()
