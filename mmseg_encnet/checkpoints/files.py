"""Files of weights: read as plain data alone, written whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmseg_encnet.checkpoints.fit import plain_state_dict
from mmseg_encnet.checkpoints.plain_loading import load_plain
from mmseg_encnet.checkpoints.whole_files import check_undamaged, write_whole
from mmseg_encnet.errors import UserError


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint of any of the frameworks, without letting it run code.

    Args:
        path: File that ``torch.save`` wrote: a state dict, or a dict with one at ``state_dict``.

    Returns:
        The state dict, by the names of an unwrapped model, and the entry ``meta`` that OpenMMLab's
        checkpoints have (empty for others).

    Raises:
        UserError: If the file does not exist, is damaged, cannot be read as plain data, or holds no
            weights.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'checkpoint {path} does not exist; check the path.')
    check_undamaged(path)
    content = load_plain(path, 'cpu')
    try:
        state_dict = plain_state_dict(content)
    except UserError as error:
        raise UserError(f'checkpoint {path} does not fit: {error}') from error
    strangers = [key for key, value in state_dict.items() if not isinstance(value, Tensor)]
    if strangers or not state_dict:
        what = f'{strangers[0]!r} is no tensor' if strangers else 'it is empty'
        raise UserError(
            f'checkpoint {path} holds no weights by name: {what}; take a file that '
            'holds a state dict, alone or at the key state_dict.'
        )
    meta = content.get('meta')
    return state_dict, meta if isinstance(meta, dict) else {}


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint as ``torch.save`` does, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getbuffer())
