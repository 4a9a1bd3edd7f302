"""Read and write checkpoint files outside of training."""

from __future__ import annotations

import io
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from mmseg_encnet.checkpoints.fit import check_finite, is_dense, plain_state_dict
from mmseg_encnet.checkpoints.plain_loading import load_from_local
from mmseg_encnet.checkpoints.remote import local_file
from mmseg_encnet.checkpoints.tensor_files import SUFFIX, write_tensor_checkpoint
from mmseg_encnet.checkpoints.whole_files import holds_other_files, write_whole
from mmseg_encnet.disk import shown
from mmseg_encnet.errors import UserError, about, first_line


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint of any supported framework, without letting it run code.

    Args:
        path: File that ``torch.save`` wrote: a state dict, or a dict with one at ``state_dict``;
            a zip file with one such ``.pth``, as PyTorch-Encoding publishes; a safetensors file;
            or the address of any of these.

    Returns:
        The state dict, with the names of an unwrapped model, and the entry ``meta`` of OpenMMLab's
        checkpoints (empty for others).

    Raises:
        UserError: The file does not exist, is damaged, contains more than plain data or no state
            dict, or contains weights that are not finite.
    """
    path = Path(local_file(path))
    if not path.is_file():
        raise UserError(f'checkpoint {path} does not exist; check the path.')
    content = _load(path)
    with about(f'checkpoint {path}'):
        state_dict = plain_state_dict(content)
        others = [key for key, value in state_dict.items() if not is_dense(value)]
        if others or not state_dict:
            what = f'{others[0]!r} is not a tensor' if others else 'it is empty'
            raise UserError(
                f'contains no state dict ({what}); use a file with a state dict, either alone or '
                'under the key state_dict.'
            )
        check_finite(state_dict)
    meta = content.get('meta')
    return state_dict, meta if isinstance(meta, dict) else {}


def _load(path: Path) -> Any:
    if not holds_other_files(path):
        return load_from_local(path, 'cpu')
    with ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        members = [name for name in archive.namelist() if name.endswith(('.pth', '.pth.tar'))]
        if len(members) != 1:
            raise UserError(
                f'zip file {path} contains {len(members)} .pth files, expected one; unpack it and '
                'pass the checkpoint.'
            )
        unpacked = Path(folder, 'checkpoint.pth')
        try:
            with archive.open(members[0]) as source, unpacked.open('wb') as target:
                shutil.copyfileobj(source, target)
        except (BadZipFile, zlib.error, EOFError) as error:
            raise UserError(
                f'zip file {path} is damaged ({first_line(error)}); download it again.'
            ) from error
        try:
            return load_from_local(unpacked, 'cpu')
        except UserError as error:
            # Name the zip file, not the temporary one.
            raise UserError(
                str(error).replace(str(unpacked), f'{path}/{shown(members[0])}')
            ) from error


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint, completely or not at all: as safetensors if its suffix says so.

    Raises:
        UserError: A safetensors file was asked for, and the content is more than weights.
    """
    if path.suffix == SUFFIX:
        write_tensor_checkpoint(path, content)
        return
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getbuffer())
