"""Malicious files, which run code, write outside their folder or exhaust the disk."""

from __future__ import annotations

import io
import pickle
import stat
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pickled_code import Payload

HISTORY = 'mmengine.logging.history_buffer HistoryBuffer'


def _global(name: str) -> bytes:
    module, member = name.split()
    return f'c{module}\n{member}\n'.encode()


def _text(value: str) -> bytes:
    return b'X' + struct.pack('<I', len(value)) + value.encode()


def _bytes_of_latin(value: str) -> bytes:
    """Return the pickle of bytes in protocol 2."""
    return _global('_codecs encode') + _text(value) + _text('latin1') + b'\x86R'


def _with_pickle(path: Path, content: Any, program: bytes) -> None:
    """Write the archive that ``torch.save`` makes of a content, with another pickle inside."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, 'w') as target:
        for info in source.infolist():
            data = source.read(info)
            target.writestr(info.filename, program if info.filename.endswith('.pkl') else data)


def _to_exec(marker: Path) -> bytes:
    """Return a pickle that calls ``exec`` through ``getattr``, which a training log needs."""
    getattr_ = _global('builtins getattr')
    builtins = getattr_ + getattr_ + _text('__self__') + b'\x86R'
    exec_ = getattr_ + builtins + _text('exec') + b'\x86R'
    history = _global(HISTORY) + b')\x81'
    # The state of a history becomes its attributes, including its own __setstate__.
    return (
        b'\x80\x02'
        + history
        + b'}'
        + _text('__setstate__')
        + exec_
        + b'sb'
        + _text(f'import os; os.mkdir({str(marker)!r})')
        + b'b.'
    )


def _address_as_object(path: Path, content: Any, dtype: bytes) -> None:
    """Write an array of objects made from bytes: reading an element follows an address."""
    array = (
        _global('numpy._core.multiarray _reconstruct')
        + _global('numpy ndarray')
        + b'K\x00\x85'
        + _bytes_of_latin('b')
        + b'\x87R'
    )
    state = b'(K\x01K\x01\x85' + dtype + b'\x89' + _bytes_of_latin('AAAAAAAA') + b't'
    _with_pickle(path, content, b'\x80\x02}' + _text('state_dict') + array + state + b'bs.')


_OBJECTS = _global('numpy dtype') + _text('O8') + b'\x89\x88\x87R'
# Declared as numbers, with a state that declares objects.
_DISGUISED = (
    _global('numpy dtype')
    + _text('f8')
    + b'\x89\x88\x87R(K\x03'
    + _text('<')
    + b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb'
)


def _legacy_tar(path: Path, content: Any, payload: Payload) -> None:
    """Write the format of PyTorch 0.1."""
    with tarfile.open(path, 'w') as archive:
        for name in ('storages', 'tensors', 'pickle'):
            data = pickle.dumps(payload, protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def _torchscript(path: Path, content: Any, payload: Payload) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), path)
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('archive/extra.pkl', pickle.dumps(payload))


def _inside(*keys: str) -> Callable[[Path, Any, Payload], None]:
    def write(path: Path, content: Any, payload: Payload) -> None:
        content = node = {
            key: dict(value) if isinstance(value, dict) else value for key, value in content.items()
        }
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = payload
        torch.save(content, path)

    return write


# Files that would run code, or follow a forged address, if loaded carelessly.
CHECKPOINTS: dict[str, Callable[[Path, Any, Payload], None]] = {
    'pickle': lambda path, content, payload: path.write_bytes(pickle.dumps(payload)),
    'alone': lambda path, content, payload: torch.save(payload, path),
    'in meta': _inside('meta', 'time'),
    'in the optimizer': _inside('optimizer', 'state'),
    'in the weights': _inside('state_dict', 'backbone.extra'),
    'in the log': lambda path, content, payload: torch.save(
        {**content, 'message_hub': dict(log_scalars=OrderedDict(loss=payload))}, path
    ),
    'format of PyTorch before 1.6': lambda path, content, payload: torch.save(
        {**content, 'meta': payload}, path, _use_new_zipfile_serialization=False
    ),
    'format of PyTorch 0.1': _legacy_tar,
    'TorchScript': _torchscript,
    'exec through a history': lambda path, content, payload: _with_pickle(
        path, content, _to_exec(Path(payload.marker))
    ),
    'address as object': lambda path, content, payload: _address_as_object(path, content, _OBJECTS),
    'address as number': lambda path, content, payload: _address_as_object(
        path, content, _DISGUISED
    ),
}


def write_program_text(path: Path, content: Any, marker: Path) -> None:
    """Write a checkpoint of plain data with a program in place of the text of the config."""
    program = f'import os\nos.mkdir({str(marker)!r})\n'
    meta = dict(content.get('meta', {}), cfg=program, config=program)
    hub = dict(
        content.get(
            'message_hub',
            dict(log_scalars=OrderedDict(), runtime_info=OrderedDict(), resumed_keys=OrderedDict()),
        )
    )
    hub['runtime_info'] = OrderedDict(hub['runtime_info'], cfg=program, config=program)
    torch.save({**content, 'meta': meta, 'message_hub': hub}, path)


# Name of the entry (None: a name in the data set), its kind and a part of the message.
ARCHIVES = {
    'out of the folder': ('../evil', 'file', 'points outside'),
    'deep out of the folder': ('a/../../evil', 'file', 'points outside'),
    'absolute': ('/tmp/mmseg_encnet_evil', 'file', 'points outside'),
    'link': (None, 'link', 'a link'),
    'bomb': (None, 'bomb', 'suspiciously many bytes'),
}
_BOMB = 2_000_000_000


def write_archive(path: Path, entry: str | None = None, kind: str = 'file') -> None:
    """Write a zip or tar file with one malicious entry, or without entries."""
    if path.suffix == '.zip':
        _write_zip(path, entry, kind)
        return
    with tarfile.open(path, 'w:gz' if path.suffix == '.tgz' else 'w') as archive:
        if entry is None:
            return
        info = tarfile.TarInfo(entry)
        if kind == 'link':
            info.type, info.linkname = tarfile.SYMTYPE, '/etc/passwd'
        info.size = {'file': 4, 'link': 0, 'bomb': _BOMB}[kind]
        archive.fileobj.write(info.tobuf())
        archive.fileobj.write(bytes(tarfile.BLOCKSIZE) if info.size else b'')


def _write_zip(path: Path, entry: str | None, kind: str) -> None:
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        if entry is None:
            return
        info = zipfile.ZipInfo(entry)
        if kind == 'link':
            info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, b'evil' * 100)
    if kind == 'bomb':
        data = path.read_bytes()
        path.write_bytes(data.replace((400).to_bytes(4, 'little'), _BOMB.to_bytes(4, 'little')))
