"""Serve the page, until it is closed."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mmseg_encnet.errors import UserError
from mmseg_encnet.extras import require
from mmseg_encnet.predicting import Segmentor
from mmseg_encnet.workbench.demo_page.gate import Gate
from mmseg_encnet.workbench.demo_page.page import build_app
from mmseg_encnet.workbench.demo_page.uploads import Uploads, private_folder

# Connections at the same time; a page holds up to six.
CONNECTIONS = 128
# To start, and for requests in progress to end.
SECONDS_TO_START, SECONDS_TO_END = 60, 3


@contextmanager
def serve(
    segmentor: Segmentor,
    title: str,
    host: str = '127.0.0.1',
    port: int = 7860,
    allowed_hosts: Iterable[str] = (),
) -> Iterator[str]:
    """Serve the page of a model in a thread; give its address.

    Args:
        segmentor: The model; it processes one photograph at a time.
        title: Name of the model.
        host: Address to listen on.
        port: Port to listen on.
        allowed_hosts: Further names by which browsers may reach the page.

    Raises:
        UserError: The port is not available.
    """
    # Before the page is built, which takes seconds.
    with _listening(host, port) as listener, private_folder() as folder:
        uploads = Uploads(folder)
        gate = Gate(build_app(segmentor, title, uploads), uploads, host, allowed_hosts)
        uvicorn = require('uvicorn', 'demo')
        config = uvicorn.Config(
            gate,
            log_level='warning',
            access_log=False,
            server_header=False,
            lifespan='on',
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=SECONDS_TO_END,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            _wait_for_start(server, thread)
            shown = 'localhost' if host in ('0.0.0.0', '::', '') else host.strip('[]')
            yield f'http://{f"[{shown}]" if ":" in shown else shown}:{port}/'
        finally:
            gate.close()
            server.should_exit = True
            thread.join(2 * SECONDS_TO_END)


@contextmanager
def until_stopped() -> Iterator[threading.Event]:
    """Set an event on Ctrl+C and when the process is to end; a second time ends it at once."""
    stopped = threading.Event()
    names = ('SIGINT', 'SIGTERM', 'SIGHUP')
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]

    def stop(number: int, frame: object) -> None:
        stopped.set()
        signal.signal(number, signal.SIG_DFL)

    former = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stopped
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    address = host.strip('[]')
    try:
        family = socket.AF_INET6 if ':' in address else socket.AF_INET
        listener = socket.create_server((address, port), family=family, backlog=CONNECTIONS)
    except (OSError, OverflowError) as error:
        raise UserError(
            f'port {port} on {host} is not available; choose another from 1024 to 65535 with '
            '--port.'
        ) from error
    with listener:
        yield listener


def _wait_for_start(server: Any, thread: threading.Thread) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError('the server of the demo page has not started')
        time.sleep(0.01)
