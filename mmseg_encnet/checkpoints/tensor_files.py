"""Checkpoints in the safetensors format: tensors and JSON, nothing that could run code.

The format has no checksums, so files written here carry one in their metadata, and a flipped bit is
refused as it is in the files of ``torch.save``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmseg_encnet.checkpoints.whole_files import ZIP_MAGIC, DamagedFileError, write_whole
from mmseg_encnet.errors import UserError, first_line
from mmseg_encnet.extras import require
from mmseg_encnet.plain_json import parse_json

SUFFIX = '.safetensors'
_CHECKSUM, _META = 'sha1', 'meta'
# A file starts with the size of its header in eight bytes, then the header in JSON.
_SIZE_BYTES = 8


def is_tensor_file(path: Path) -> bool:
    """Return whether a file is to be read as safetensors, by its suffix or its first bytes."""
    with path.open('rb') as file:
        start = file.read(_SIZE_BYTES + 1)
    if start.startswith(ZIP_MAGIC):
        return False
    return path.suffix == SUFFIX or (
        start[_SIZE_BYTES:] == b'{'
        and int.from_bytes(start[:_SIZE_BYTES], 'little') < path.stat().st_size
    )


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file and check its checksum, if it has one.

    Returns:
        The tensors by name, and the metadata.

    Raises:
        DamagedFileError: The file is damaged, truncated or no safetensors file.
    """
    safetensors = require('safetensors', 'hub')
    try:
        with safetensors.safe_open(path, framework='pt') as file:
            facts = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise DamagedFileError(
            f'checkpoint {path} cannot be read as safetensors ({first_line(error)}); it is '
            'truncated, damaged or another kind of file.'
        ) from error
    if _CHECKSUM in facts and checksum(tensors) != facts[_CHECKSUM]:
        raise DamagedFileError(
            f'checkpoint {path} does not match its checksum; write or download it again.'
        )
    return tensors, facts


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write tensors and metadata with a checksum, completely or not at all."""
    save = require('safetensors.torch', 'hub').save
    # Tensors that share memory are refused, so they become copies.
    stored = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
    data = save(stored, metadata=dict(facts, **{_CHECKSUM: checksum(stored)}))
    write_whole(path, _with_sorted_metadata(data))


def _with_sorted_metadata(data: bytes) -> bytes:
    """Return a file with its metadata in a fixed order, so that equal weights are equal files."""
    end = _SIZE_BYTES + int.from_bytes(data[:_SIZE_BYTES], 'little')
    header = parse_json(data[_SIZE_BYTES:end].decode())
    header = dict(__metadata__=dict(sorted(header.pop('__metadata__').items())), **header)
    text = json.dumps(header, separators=(',', ':'), ensure_ascii=False).encode()
    # The data starts at a multiple of eight bytes.
    text += b' ' * (-len(text) % _SIZE_BYTES)
    return len(text).to_bytes(_SIZE_BYTES, 'little') + text + data[end:]


def plain_meta(path: Path, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return the entry ``meta`` that :func:`write_tensor_checkpoint` stored, empty without one.

    Raises:
        DamagedFileError: It is not JSON.
    """
    try:
        meta = parse_json(facts.get(_META, '{}'))
    except ValueError as error:
        raise DamagedFileError(
            f'checkpoint {path} has metadata that is not JSON ({first_line(error)}); write or '
            'download it again.'
        ) from error
    return meta if isinstance(meta, dict) else {}


def write_tensor_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write the weights and the plain part of ``meta`` of a checkpoint.

    Raises:
        UserError: The checkpoint holds the state of a training, which the format cannot store.
    """
    others = [key for key in content if key not in ('state_dict', 'meta')]
    if others:
        raise UserError(
            f'{path} cannot store {", ".join(others)}, only weights; choose a file that ends in '
            '.pth, or leave them out with tools/model_converters/publish.py.'
        )
    meta = {key: _plain(value) for key, value in (content.get('meta') or {}).items()}
    kept = {key: value for key, value in meta.items() if value is not None}
    write_tensors(path, content['state_dict'], dict(format='pt', meta=json.dumps(kept)))


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-1 of names and values, in the order of the names."""
    sha1 = hashlib.sha1()
    for key in sorted(tensors):
        sha1.update(key.encode())
        # As bytes, because NumPy lacks bfloat16.
        sha1.update(tensors[key].contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha1.hexdigest()


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, or None if it has no such form."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, (str, bool, int, float)) else None
