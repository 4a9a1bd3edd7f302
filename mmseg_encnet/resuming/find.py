"""Find the checkpoint with which an interrupted training continues."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

from mmseg_encnet.checkpoints.whole_files import ZIP_MAGIC, DamagedFileError, check_undamaged


def resume_training(cfg: Config) -> None:
    """Have a training go on from the last checkpoint in its work dir.

    Without one it starts as the config says. The toolbox would go on from ``load_from``, at the
    iteration at which the training ended that wrote those weights.
    """
    cfg.resume = cfg.get('load_from') is None or find_latest_checkpoint(cfg.work_dir) is not None
    if cfg.resume:
        cfg.load_from = None


def find_resumable(work_dir: str | Path, warn: Callable[[str], None]) -> str | None:
    """The checkpoint with which an interrupted training goes on.

    It is the last one written. Is that damaged or gone, it is the newest one before it that is
    not: resuming is exact, so this costs time and changes no result.

    Args:
        work_dir: Folder of the training.
        warn: Called with a sentence about a checkpoint that cannot be used.

    Returns:
        The file, or None if nothing was written yet.

    Raises:
        DamagedFileError: If none of those written is whole.
    """
    last = find_latest_checkpoint(str(work_dir))
    if not last:
        return None
    path = Path(last)
    if not path.is_file():
        # The folder may have been moved.
        path = Path(work_dir) / path.name
    problem = _problem(path)
    if problem is None:
        return str(path)
    for earlier in _earlier(path):
        if _problem(earlier) is None:
            warn(f'{problem} Training goes on from the checkpoint before it, {earlier}.')
            return str(earlier)
    raise DamagedFileError(
        f'{problem} There is no whole checkpoint before it in {path.parent} to '
        'resume from; train without --resume to start over.'
    )


def _problem(path: Path) -> str | None:
    if not path.is_file():
        return f'The last checkpoint {path} is missing.'
    try:
        check_undamaged(path)
    except DamagedFileError as error:
        return str(error)
    with path.open('rb') as file:
        # The other format that torch.load reads starts with a pickle.
        if file.read(len(ZIP_MAGIC)) == ZIP_MAGIC:
            return None
    return f'checkpoint {path} is damaged: it is empty or does not start as a checkpoint does.'


def _earlier(path: Path) -> list[Path]:
    """The checkpoints of the same series before one, newest first."""
    match = re.fullmatch(r'(.*?)(\d+)(\D*)', path.name)
    if match is None or not path.parent.is_dir():
        return []
    series = re.compile(f'{re.escape(match[1])}(\\d+){re.escape(match[3])}')
    found = [
        (int(other[1]), file)
        for file in path.parent.iterdir()
        if (other := series.fullmatch(file.name))
    ]
    return [file for number, file in sorted(found, reverse=True) if number < int(match[2])]
