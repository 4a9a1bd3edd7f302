"""Reduce the checkpoint of a training to what a prediction needs."""

from __future__ import annotations

from pathlib import Path

from mmseg_encnet.checkpoints.files import read_checkpoint, write_checkpoint
from mmseg_encnet.errors import UserError

# Other entries, such as the config, contain paths of the machine that trained the network.
_KEPT = ('dataset_meta', 'epoch', 'iter', 'seed', 'source', 'content', 'mmseg_version')


def publish_checkpoint(source: str | Path, target: Path) -> None:
    """Write the weights, classes and iteration of a checkpoint, without the training state.

    Args:
        source: Checkpoint file or address.
        target: File to write, as safetensors if its suffix is ``.safetensors``.

    Raises:
        UserError: The source cannot be read, or is the target.
    """
    if Path(source).resolve() == target.resolve():
        raise UserError(f'got {target} as source and target; choose another file to write.')
    state_dict, meta = read_checkpoint(source)
    kept = {key: meta[key] for key in _KEPT if key in meta}
    write_checkpoint(target, dict(state_dict=state_dict, meta=kept))
