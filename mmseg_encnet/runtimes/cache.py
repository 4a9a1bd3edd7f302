"""Exported networks are kept beside their checkpoint, or in the user's cache folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmseg_encnet.checkpoints.whole_files import write_whole
from mmseg_encnet.exporting import onnx
from mmseg_encnet.exporting.description import Size
from mmseg_encnet.extras import require
from mmseg_encnet.ops.autotune import cache_folder
from mmseg_encnet.version import __version__

# Changes with what is exported.
_FORMAT = 1
_DIGITS = 16
# Entries of a model's config that determine the exported network.
_EXPORTED = ('type', 'backbone', 'neck', 'decode_head', 'auxiliary_head')


class Cache:
    """Files of one network: ``NAME.KEY-CHECKSUM.onnx``.

    KEY is a checksum of the weights, of everything else that determines the file, and of the
    versions that write it, so that the file of another network is never used. CHECKSUM is that of
    the content, so that a damaged file is not used either.

    Args:
        model: The network.
        config: Config of the network.
        precision: Precision of the weights, ``float32`` or ``bfloat16``.
        checkpoint: Checkpoint file whose folder the files are kept in; None for the user's cache
            folder. That one is also used if the folder is not writable.
    """

    def __init__(
        self, model: nn.Module, config: Mapping[str, Any], precision: str, checkpoint: Path | None
    ) -> None:
        versions = [
            module.__version__ for module in (torch, *(require(m, 'onnx') for m in onnx.WRITERS))
        ]
        facts = [_FORMAT, __version__, *versions, _parts(config), precision]
        digest = hashlib.sha256('\n'.join(map(str, facts)).encode())
        for name, value in sorted(model.state_dict().items()):
            digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
            digest.update(_bytes(value))
        self._key = digest.hexdigest()[:_DIGITS]
        own = cache_folder() / 'exported'
        self._name = checkpoint.stem if checkpoint else 'network'
        self._folders = (checkpoint.parent, own) if checkpoint else (own,)

    def read(self, size: Size | None) -> bytes | None:
        """Return the content of the file for one size or for any, None if there is none."""
        start = re.escape(self._start(size))
        pattern = re.compile(rf'{start}-([0-9a-f]{{{_DIGITS}}})\.onnx')
        for folder in self._folders:
            for path in _files(folder):
                match = pattern.fullmatch(path.name)
                content = _content(path) if match else None
                if match and content is not None and _checksum(content) == match[1]:
                    return content
        return None

    def write(self, size: Size | None, content: bytes) -> None:
        """Keep a file, if one of the folders is writable."""
        for folder in self._folders:
            try:
                write_whole(folder / f'{self._start(size)}-{_checksum(content)}.onnx', content)
                return
            except OSError:
                # Read-only or full.
                continue

    def _start(self, size: Size | None) -> str:
        return f'{self._name}.{self._key}' + (f'-{size[0]}x{size[1]}' if size else '')


def _parts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts that are exported: how windows are placed and classes suppressed is not."""
    return {key: config[key] for key in sorted(config) if key in _EXPORTED}


def _bytes(tensor: Tensor) -> memoryview:
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(plain.view(torch.uint8).numpy()) if plain.numel() else memoryview(b'')


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _files(folder: Path) -> Iterable[Path]:
    try:
        return sorted(folder.glob('*.onnx'))
    except OSError:
        return ()


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
