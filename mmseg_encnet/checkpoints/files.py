"""Read and write checkpoint files outside of training."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmseg_encnet.checkpoints.fit import check_finite, plain_state_dict
from mmseg_encnet.checkpoints.plain_loading import load_from_local
from mmseg_encnet.checkpoints.whole_files import write_whole
from mmseg_encnet.errors import UserError, about


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint of any supported framework, without letting it run code.

    Args:
        path: File that ``torch.save`` wrote: a state dict, or a dict with one at ``state_dict``.

    Returns:
        The state dict, with the names of an unwrapped model, and the entry ``meta`` of OpenMMLab's
        checkpoints (empty for others).

    Raises:
        UserError: The file does not exist, is damaged, contains more than plain data or no state
            dict, or contains weights that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'checkpoint {path} does not exist; check the path.')
    content = load_from_local(path, 'cpu')
    with about(f'checkpoint {path}'):
        state_dict = plain_state_dict(content)
        others = [key for key, value in state_dict.items() if not isinstance(value, Tensor)]
        if others or not state_dict:
            what = f'{others[0]!r} is not a tensor' if others else 'it is empty'
            raise UserError(
                f'contains no state dict ({what}); use a file with a state dict, either alone or '
                'under the key state_dict.'
            )
        check_finite(state_dict)
    meta = content.get('meta')
    return state_dict, meta if isinstance(meta, dict) else {}


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint as ``torch.save`` does, completely or not at all."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getbuffer())
