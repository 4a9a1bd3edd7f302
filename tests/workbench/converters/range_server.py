"""A test server that sends parts of files, breaks connections and changes its file."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class RangeServer:
    """What a server offers at any path, how it behaves, and which requests it received.

    Args:
        url: Address of the server.
        content: The only file.
        headers: Headers that identify the version of the file.
        ranges: Whether the server supports ranges.
        break_after: Number of bytes after which each response ends; None for complete responses.
        hang: Whether the connection stays open after an incomplete response.
        status: HTTP error to respond with instead.
        asked: Range header of each request, None if absent.
        close: Function that stops the server.
    """

    url: str
    content: bytes = b''
    headers: dict[str, str] = field(default_factory=lambda: {'ETag': '"1"'})
    ranges: bool = True
    break_after: int | None = None
    hang: bool = False
    status: int | None = None
    asked: list[str | None] = field(default_factory=list)
    close: Callable[[], None] = lambda: None


@contextlib.contextmanager
def serve() -> Iterator[RangeServer]:
    """Run a server during the context."""
    closing = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get('Range')
            server.asked.append(wanted)
            if server.status:
                self.send_error(server.status)
                return
            start = 0
            validators = (None, *server.headers.values())
            if wanted and server.ranges and self.headers.get('If-Range') in validators:
                start = int(wanted.removeprefix('bytes=').removesuffix('-'))
                if start >= len(server.content):
                    self.send_error(416)
                    return
            body = server.content[start:]
            self.send_response(206 if start else 200)
            if start:
                size = len(server.content)
                self.send_header('Content-Range', f'bytes {start}-{size - 1}/{size}')
            self.send_header('Content-Length', str(len(body)))
            for header in server.headers.items():
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(body[: server.break_after])
            self.wfile.flush()
            if server.hang:
                closing.wait()
            self.close_connection = True

        def log_message(self, *_) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server = RangeServer(f'http://127.0.0.1:{listener.server_address[1]}/')
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()

    def close() -> None:
        closing.set()
        listener.shutdown()
        listener.server_close()

    server.close = close
    try:
        yield server
    finally:
        close()
