"""A server that speaks as much of the Hugging Face Hub's protocol as its client needs."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

TOKEN = 'hf_secret'
_RESOLVE = re.compile(r'/(.+)/resolve/([^/]+)/(.+)')
_PREUPLOAD = re.compile(r'/api/models/(.+)/preupload/(.+)')
_COMMIT = re.compile(r'/api/models/(.+)/commit/(.+)')
_BATCH = re.compile(r'/(.+)\.git/info/lfs/objects/batch')


@dataclass
class Hub:
    """State of the server.

    Attributes:
        address: Its address.
        commits: Files by name of each commit, by repository, oldest first.
        private: Repositories that need the token.
        requests: Method and path of every request.
        status: Status with which downloads of a file fail, by its name.
        cut: Names of files whose downloads end half way.
    """

    address: str = ''
    commits: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    requests: list[tuple[str, str]] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def files(self, repository: str) -> dict[str, bytes]:
        """Return the files of the last commit."""
        return self.commits[repository][-1]

    def commit_id(self, repository: str, number: int) -> str:
        """Return the hash of a commit."""
        return hashlib.sha1(f'{repository} {number}'.encode()).hexdigest()


@contextmanager
def serve() -> Iterator[Hub]:
    """Run a server on a free port of this machine."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    listener = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    hub.address = f'http://127.0.0.1:{listener.server_address[1]}'
    threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        listener.shutdown()
        listener.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._resolve(body=False)

    def do_GET(self) -> None:
        self._resolve(body=True)

    def do_POST(self) -> None:
        self.hub.requests.append(('POST', self.path))
        content = self.rfile.read(int(self.headers['Content-Length']))
        if self.headers.get('authorization') != f'Bearer {TOKEN}':
            self._fail(401)
        elif self.path in self.hub.status:
            self._fail(self.hub.status[self.path])
        elif self.path == '/api/repos/create':
            self._create(json.loads(content))
        elif self.path == '/api/validate-yaml':
            self._answer({'errors': [], 'warnings': []})
        elif match := _PREUPLOAD.fullmatch(self.path):
            files = json.loads(content)['files']
            modes = [
                dict(
                    path=file['path'],
                    uploadMode='lfs' if file['path'].endswith('.safetensors') else 'regular',
                    shouldIgnore=False,
                )
                for file in files
            ]
            self._answer(dict(files=modes))
        elif match := _BATCH.fullmatch(self.path):
            href = f'{self.hub.address}/blob/'
            objects = [
                dict(entry, actions=dict(upload=dict(href=href + entry['oid'])))
                for entry in json.loads(content)['objects']
            ]
            self._answer(dict(transfer='basic', objects=objects))
        elif match := _COMMIT.fullmatch(self.path):
            self._commit(match[1], [json.loads(line) for line in content.splitlines()])
        else:
            self._fail(404)

    def do_PUT(self) -> None:
        self.hub.requests.append(('PUT', self.path))
        content = self.rfile.read(int(self.headers['Content-Length']))
        self.hub.blobs[hashlib.sha256(content).hexdigest()] = content
        self._answer({})

    def _create(self, content: dict) -> None:
        name = f'{content.get("organization") or "me"}/{content["name"]}'
        exists = name in self.hub.commits
        self.hub.commits.setdefault(name, [{}])
        if content.get('private') or content.get('visibility') == 'private':
            self.hub.private.add(name)
        self._answer(dict(url=f'{self.hub.address}/{name}'), 409 if exists else 200)

    def _commit(self, repository: str, lines: list[dict]) -> None:
        files = dict(self.hub.files(repository))
        for line in lines:
            value = line['value']
            if line['key'] == 'file':
                files[value['path']] = base64.b64decode(value['content'])
            elif line['key'] == 'lfsFile':
                files[value['path']] = self.hub.blobs[value['oid']]
        self.hub.commits[repository].append(files)
        oid = self.hub.commit_id(repository, len(self.hub.commits[repository]) - 1)
        url = f'{self.hub.address}/{repository}/commit/{oid}'
        self._answer(dict(commitUrl=url, commitOid=oid))

    def _resolve(self, body: bool) -> None:
        self.hub.requests.append(('GET' if body else 'HEAD', self.path))
        match = _RESOLVE.fullmatch(self.path)
        if match is None:
            return self._fail(404)
        repository, revision, name = match.groups()
        denied = (
            repository in self.hub.private
            and self.headers.get('authorization') != f'Bearer {TOKEN}'
        )
        if repository not in self.hub.commits or denied:
            return self._fail(401, 'RepoNotFound')
        if name in self.hub.status:
            return self._fail(self.hub.status[name])
        commits = self.hub.commits[repository]
        ids = [self.hub.commit_id(repository, number) for number in range(len(commits))]
        if revision != 'main' and revision not in ids:
            return self._fail(404, 'RevisionNotFound')
        number = len(ids) - 1 if revision == 'main' else ids.index(revision)
        headers = {'X-Repo-Commit': ids[number]}
        if name not in commits[number]:
            return self._fail(404, 'EntryNotFound', headers)
        content = commits[number][name]
        start = int((re.findall(r'bytes=(\d+)-', self.headers.get('Range', '')) or ['0'])[0])
        rest = content[start:]
        self.send_response(206 if start else 200)
        headers |= {'ETag': f'"{hashlib.sha256(content).hexdigest()}"'}
        if start:
            headers['Content-Range'] = f'bytes {start}-{len(content) - 1}/{len(content)}'
        for key, value in {**headers, 'Content-Length': len(rest)}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if body and name in self.hub.cut:
            self.wfile.write(rest[: len(rest) // 2])
            self.close_connection = True
        elif body:
            self.wfile.write(rest)
        return None

    def _answer(self, content: dict, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _fail(self, status: int, code: str = '', headers: dict | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if code:
            self.send_header('X-Error-Code', code)
        self.send_header('Content-Length', '0')
        self.end_headers()
