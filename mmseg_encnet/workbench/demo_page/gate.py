"""What a request must fulfil before it reaches the page.

Any web page that is open in a browser on this machine can send requests to a server on this
machine, and with a host name that it lets point here it can also read the answers. So requests are
refused unless they name this server and come from its own page. Sizes are bounded, and uploads are
passed on only once they are complete, so that an aborted one leaves nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any

from mmseg_encnet.workbench.demo_page.uploads import Uploads

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL = frozenset({'localhost', '127.0.0.1', '::1'})
# Bytes of an upload and of any other request.
MAX_UPLOAD, MAX_BODY = 32 << 20, 1 << 20
# Bytes of the uploads that are waiting, and uploads at the same time.
MAX_WAITING, UPLOADS_AT_ONCE = 256 << 20, 4
# Seconds in which a request must be complete.
SECONDS = 60
_UPLOAD_PATH = '/gradio_api/upload'
_HEADERS = (
    (b'content-security-policy', b"frame-ancestors 'none'"),
    (b'cross-origin-resource-policy', b'same-origin'),
    (b'referrer-policy', b'no-referrer'),
    (b'x-content-type-options', b'nosniff'),
    (b'x-frame-options', b'DENY'),
)


class RefusedError(Exception):
    """A request is refused.

    Args:
        status: HTTP status.
        reason: One sentence.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Gate:
    """An ASGI application that passes on what :mod:`this module <.gate>` describes.

    Args:
        app: The application of the page.
        uploads: Where it stores its uploads.
        host: Address that the server listens on.
        allowed_hosts: Further names by which it may be reached.
    """

    def __init__(
        self, app: App, uploads: Uploads, host: str, allowed_hosts: Iterable[str] = ()
    ) -> None:
        self.app = app
        self.uploads = uploads
        # A name can be made to point here; the address of a machine cannot.
        self.any_address = _address(host) in ('0.0.0.0', '::')
        self.names = {_address(name) for name in (*LOCAL, host, *allowed_hosts)}
        self._uploading = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        self._loop = asyncio.get_running_loop()
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
            return
        if scope['type'] != 'http':
            # The page uses no web sockets.
            await send(dict(type='websocket.close', code=1008))
            return
        try:
            self._check(scope)
            receive = await self._body(scope, receive)
        except RefusedError as refused:
            await _answer(refused, send)
            return
        if scope['path'] == _UPLOAD_PATH:
            await self._upload(scope, receive, send)
        else:
            await self._pass_on(scope, receive, _guarded(send))

    def close(self) -> None:
        """End the answers that are in progress, such as event streams, from another thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._closing.set)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the page answer, until the server is closed."""
        last: Message = {}

        async def watched(message: Message) -> None:
            last.update(message)
            await send(message)

        answer = asyncio.ensure_future(self.app(scope, receive, watched))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({answer, closing}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                answer.result()
            elif last.get('more_body', True) and 'status' in last:
                await send(dict(type='http.response.body', body=b''))
            elif 'status' not in last:
                await _answer(RefusedError(503, 'The server is about to end.'), send)
        finally:
            closing.cancel()
            answer.cancel()

    def _check(self, scope: Scope) -> None:
        """Check where a request comes from and which server it names."""
        headers = [(name.lower(), value.decode('latin-1')) for name, value in scope['headers']]
        hosts = [value for name, value in headers if name == b'host']
        if len(hosts) != 1 or not self._is_allowed(hosts[0]):
            raise RefusedError(
                421,
                'This server does not answer to this name; open the address that it printed, or '
                'start it with --allowed-host NAME.',
            )
        given = dict(headers)
        origin = given.get(b'origin')
        if origin is not None and origin.lower() not in (
            f'{scheme}://{hosts[0].lower()}' for scheme in ('http', 'https')
        ):
            raise RefusedError(403, 'Requests of other pages are refused.')
        # Browsers send this with every request to this machine, also without an origin.
        site = given.get(b'sec-fetch-site', 'none')
        opened = (
            scope['method'] in ('GET', 'HEAD')
            and given.get(b'sec-fetch-mode') == 'navigate'
            and given.get(b'sec-fetch-dest') == 'document'
            and scope['path'] == '/'
        )
        if site not in ('same-origin', 'none') and not opened:
            raise RefusedError(403, 'Requests of other pages are refused.')

    def _is_allowed(self, host: str) -> bool:
        name = _address(_without_port(host))
        if name in self.names:
            return True
        return self.any_address and _is_address(name)

    async def _body(self, scope: Scope, receive: Receive) -> Receive:
        """Read a request whole, and return a function that hands it on."""
        upload = scope['path'] == _UPLOAD_PATH
        limit = MAX_UPLOAD if upload else MAX_BODY
        length = dict(scope['headers']).get(b'content-length', b'0')
        if not length.isdigit() or int(length) > limit:
            raise _too_large(limit)
        if upload:
            if self._uploading >= UPLOADS_AT_ONCE or self.uploads.size() > MAX_WAITING:
                raise RefusedError(503, 'Too many uploads at once; try again in a minute.')
            self._uploading += 1
        try:
            body = await asyncio.wait_for(_read(receive, limit), SECONDS)
        except asyncio.TimeoutError:
            raise RefusedError(408, f'The request took more than {SECONDS} seconds.') from None
        finally:
            self._uploading -= upload
        if not upload and not all(map(self.uploads.has, _named_files(body))):
            raise RefusedError(400, 'The request names a file that was not uploaded.')
        messages = [dict(type='http.request', body=body, more_body=False)]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        return replay

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on an upload, and register the files that it has produced."""
        messages: list[Message] = []
        self._uploading += 1

        async def record(message: Message) -> None:
            messages.append(message)
            await send(message)

        try:
            await self.app(scope, receive, _guarded(record))
            if any(message.get('status') == 200 for message in messages):
                for path in json.loads(b''.join(part.get('body', b'') for part in messages)):
                    self.uploads.add(path)
        finally:
            self._uploading -= 1
            if not self._uploading:
                self.uploads.delete_parts()


async def _read(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message['type'] == 'http.disconnect':
            raise RefusedError(400, 'The request is incomplete.')
        body += message.get('body', b'')
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get('more_body'):
            return bytes(body)


def _named_files(body: bytes) -> Iterator[Any]:
    """Yield the files and addresses that Gradio would open for a request."""
    try:
        nodes = [json.loads(body)] if body else []
    except (ValueError, RecursionError):
        # Gradio refuses it.
        return
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            yield from [node['path']] if 'path' in node else []
            nodes.extend(node.values())
        elif isinstance(node, list):
            nodes.extend(node)


def _too_large(limit: int) -> RefusedError:
    return RefusedError(413, f'The request exceeds the limit of {limit >> 20} MiB.')


def _guarded(send: Send) -> Send:
    """Return a function that sends an answer without permissions for other pages."""

    async def guarded(message: Message) -> None:
        if message['type'] == 'http.response.start':
            headers = [
                (name, value)
                for name, value in message.get('headers', ())
                if not name.lower().startswith(b'access-control-')
            ]
            message = dict(message, headers=[*headers, *_HEADERS])
        await send(message)

    return guarded


async def _answer(refused: RefusedError, send: Send) -> None:
    content = refused.reason.encode()
    headers = [
        (b'content-type', b'text/plain; charset=utf-8'),
        (b'content-length', str(len(content)).encode()),
        # What was not read must not be taken for the next request.
        (b'connection', b'close'),
    ]
    start = dict(type='http.response.start', status=refused.status, headers=headers)
    await _guarded(send)(start)
    await send(dict(type='http.response.body', body=content))


def _without_port(host: str) -> str:
    if host.startswith('['):
        return host.partition(']')[0] + ']'
    return host.partition(':')[0]


def _address(name: str) -> str:
    """Return a host name or address in the form in which two are compared."""
    name = name.strip().strip('[]').lower().rstrip('.')
    return str(ipaddress.ip_address(name)) if _is_address(name) else name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
