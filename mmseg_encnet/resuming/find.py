"""Choose the checkpoint from which an interrupted run resumes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from mmseg_encnet.checkpoints.whole_files import ZIP_MAGIC, DamagedFileError, check_undamaged


def resume_training(cfg: Config) -> None:
    """Make a config resume from the last checkpoint in its work dir.

    Without a checkpoint, training starts as the config says. The toolbox would instead resume from
    ``load_from``, at the iteration at which those weights were saved.
    """
    cfg.resume = cfg.get('load_from') is None or _last_checkpoint(cfg.work_dir) is not None
    if cfg.resume:
        cfg.load_from = None


def find_resumable(work_dir: str | Path, warn: Callable[[str], None]) -> str | None:
    """Return the checkpoint from which an interrupted run resumes.

    It is the last one written or, if that is damaged or missing, the newest intact one before it.
    Because resuming is exact, falling back costs time and does not change the result.

    Args:
        work_dir: Work dir of the run.
        warn: Called with a sentence if there is no checkpoint, or the last one cannot be used.

    Returns:
        The file, or None if none was written yet.

    Raises:
        DamagedFileError: No checkpoint is intact.
    """
    path = _last_checkpoint(work_dir)
    if path is None:
        warn(f'No checkpoint to resume from in {work_dir}; training starts from the beginning.')
        return None
    if not path.is_file():
        # The folder may have been moved.
        path = Path(work_dir) / path.name
    problem = _problem(path)
    if problem is None:
        return str(path)
    for earlier in _earlier(path):
        if _problem(earlier) is None:
            warn(f'{problem}; training resumes from the one before it, {earlier}.')
            return str(earlier)
    raise DamagedFileError(
        f'{problem}, and {path.parent} contains no intact checkpoint before it; train without '
        '--resume to start over.'
    )


def _last_checkpoint(work_dir: str | Path) -> Path | None:
    """Return the checkpoint that a work dir names as the last one, which may be missing."""
    try:
        name = os.fsdecode(Path(work_dir, 'last_checkpoint').read_bytes().strip())
    except FileNotFoundError:
        return None
    return Path(name.replace('\0', '')) if name else None


def _problem(path: Path) -> str | None:
    """Return what is wrong with a checkpoint, or None."""
    if not path.is_file():
        return f'the last checkpoint {path} is missing'
    try:
        check_undamaged(path)
    except DamagedFileError as error:
        return str(error).rpartition(';')[0]
    with path.open('rb') as file:
        # torch.load also reads another format, without checksums.
        if file.read(len(ZIP_MAGIC)) == ZIP_MAGIC:
            return None
    return f'checkpoint {path} is damaged: it is empty or does not start like a checkpoint'


def _earlier(path: Path) -> list[Path]:
    """Return the earlier checkpoints of the same series, newest first."""
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
