"""Two nodes on one machine: network namespaces with a virtual cable between them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from jobs import Job, job

_INTERFACE = 'lan'


class NoNamespacesError(Exception):
    """Network namespaces cannot be created on this machine."""


class TwoNodes:
    """Two namespaces that reach only each other.

    Args:
        folder: Shared folder in which the jobs run and write their logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = [f'encnet-{os.getpid()}-{index}' for index in range(2)]
        self._started = 0

    def start(
        self, node: int, command: Sequence[object], **environment: str
    ) -> AbstractContextManager[Job]:
        """Run one of the ``dist_*.sh`` tools on a node, as part of a job on both nodes."""
        self._started += 1
        return job(
            ['ip', 'netns', 'exec', self._names[node], *command],
            self.folder / f'{self._started}_node{node}.log',
            dict(
                NNODES='2',
                NODE_RANK=str(node),
                MASTER_ADDR=_address(0),
                PORT='29500',
                NODE_ADDR=_address(node),
                GLOO_SOCKET_IFNAME=_INTERFACE,
                **environment,
            ),
            self.folder,
        )

    def cut_cable(self) -> None:
        """Cut the connection without notifying either side."""
        _ip('-n', self._names[0], 'link', 'set', _INTERFACE, 'down')

    def _make(self) -> None:
        first, second = self._names
        for name in self._names:
            _ip('netns', 'add', name)
        _ip(
            '-n',
            first,
            'link',
            'add',
            _INTERFACE,
            'type',
            'veth',
            'peer',
            'name',
            _INTERFACE,
            'netns',
            second,
        )
        for node, name in enumerate(self._names):
            _ip('-n', name, 'addr', 'add', f'{_address(node)}/24', 'dev', _INTERFACE)
            for interface in ('lo', _INTERFACE):
                _ip('-n', name, 'link', 'set', interface, 'up')

    def _remove(self) -> None:
        for name in self._names:
            subprocess.run(['ip', 'netns', 'del', name], capture_output=True)


@contextmanager
def two_nodes(folder: Path) -> Iterator[TwoNodes]:
    """Create :class:`TwoNodes` and remove them afterwards.

    Raises:
        NoNamespacesError: ``ip`` is not installed, or root privileges are missing.
    """
    nodes = TwoNodes(folder)
    try:
        try:
            nodes._make()
        except FileNotFoundError as error:
            raise NoNamespacesError('ip (iproute2) is not installed') from error
        except subprocess.CalledProcessError as error:
            raise NoNamespacesError(' '.join(error.stderr.split())) from error
        yield nodes
    finally:
        with suppress(FileNotFoundError):
            nodes._remove()


def _address(node: int) -> str:
    return f'10.77.0.{node + 1}'


def _ip(*args: str) -> None:
    subprocess.run(['ip', *args], check=True, capture_output=True, text=True, timeout=30)
