"""A short attack on all readers; ``check_attack.py`` runs the long one."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from attack import Attack, bounded, by_hypothesis
from attack_targets import REQUESTS, Target, ask_gate, mutated, targets
from mmseg.utils import register_all_modules

from mmseg_encnet.errors import UserError

INPUTS = 1300


@pytest.fixture
def attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attack]:
    monkeypatch.setenv('TQDM_DISABLE', '1')
    register_all_modules()
    with bounded():
        yield Attack(targets(), tmp_path)


def test_valid_inputs_are_read(attack):
    for name, target in attack.targets.items():
        attack.read(name, target.seeds()[0])
    assert not attack.failures and not attack.refused


@pytest.mark.filterwarnings('ignore')
def test_generated_inputs_are_read_or_refused_in_one_sentence(attack):
    by_hypothesis(attack, INPUTS)
    assert not attack.failures
    assert sum(attack.counts.values()) >= 0.9 * INPUTS


@pytest.mark.parametrize(
    ('fault', 'kind'),
    [
        (KeyError('x'), 'KeyError at'),
        (UserError('x' * 400), 'long message'),
        (MemoryError(), 'MemoryError at'),
        (None, 'TooSlowError at'),
    ],
)
def test_failures_are_found(fault, kind, attack, monkeypatch):
    def read(path: Path) -> None:
        if fault is None:
            while True:
                pass
        raise fault

    monkeypatch.setattr('attack.SECONDS', 0.2)
    attack.targets['broken'] = Target('broken', lambda: [b'1'], read, 'a')
    attack.read('broken', b'1')
    (key,) = attack.failures
    assert kind in key


def test_requests_over_a_socket():
    """The gate answers every request, whatever its bytes, and goes on serving."""
    uvicorn = pytest.importorskip('uvicorn')
    import socket
    import threading
    import time

    from mmseg_encnet.workbench.demo_page.gate import Gate
    from mmseg_encnet.workbench.demo_page.uploads import Uploads

    async def page(scope, receive, send):
        if scope['type'] == 'lifespan':
            return
        await receive()
        await send(dict(type='http.response.start', status=200, headers=[]))
        await send(dict(type='http.response.body', body=b'page'))

    with tempfile.TemporaryDirectory() as folder, socket.create_server(('127.0.0.1', 0)) as server:
        gate = Gate(page, Uploads(Path(folder)), '127.0.0.1')
        running = uvicorn.Server(uvicorn.Config(gate, log_level='critical', lifespan='off'))
        thread = threading.Thread(target=running.run, args=([server],), daemon=True)
        thread.start()
        while not running.started:
            time.sleep(0.01)
        rng = random.Random(0)
        for number in range(150):
            request = bytearray(REQUESTS[number % len(REQUESTS)])
            for _ in range(rng.randint(0, 3)):
                request[rng.randrange(len(request))] = rng.randrange(256)
            with socket.create_connection(server.getsockname(), timeout=10) as client:
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
                answer = b''.join(iter(lambda client=client: client.recv(65536), b''))
            assert not answer or answer.startswith(b'HTTP/1.1 '), answer
            assert b'Traceback' not in answer and b' 500 ' not in answer[:20], (request, answer)
        with socket.create_connection(server.getsockname(), timeout=10) as client:
            client.sendall(b'GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')
            assert b'page' in b''.join(iter(lambda: client.recv(65536), b''))
        running.should_exit = True
        thread.join(10)


def test_gate_refuses_other_hosts(tmp_path):
    path = tmp_path / 'a'
    path.write_bytes(REQUESTS[3])
    assert ask_gate(path) == 421


def test_content_is_changed_without_changing_the_original():
    content = dict(a=[1, dict(b='c')])
    found = [mutated(content, seed) for seed in range(30)]
    assert content == dict(a=[1, dict(b='c')])
    assert sum(item != content for item in found) > 20
