"""Converting photographs to JPEG, the format of the small data sets' configs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from mmseg_encnet.checkpoints.whole_files import remove_leftovers, write_whole
from mmseg_encnet.workbench.converters.labels import explained, run_parallel

# Full colour resolution, and a quality with losses below camera noise.
_OPTIONS = dict(quality=95, subsampling=0)


def write_photographs(pairs: Sequence[tuple[Path, Path]], jobs: int) -> None:
    """Write images as JPEG files, each of them atomically; skip those that exist.

    Args:
        pairs: Image to read and file to write.
        jobs: Number of processes.

    Raises:
        UserError: An image is missing or damaged.
    """
    for folder in {target.parent for _, target in pairs}:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    waiting = [pair for pair in pairs if not pair[1].is_file()]
    with tqdm(
        total=len(pairs), initial=len(pairs) - len(waiting), desc='images', unit='img'
    ) as progress:
        for _ in run_parallel(_write_photograph, waiting, jobs):
            progress.update()


def read_photograph(path: Path) -> Image.Image:
    """Return an image in RGB.

    Raises:
        UserError: The image is missing or damaged.
    """
    with explained(path), Image.open(path) as image:
        return image.convert('RGB')


def _write_photograph(pair: tuple[Path, Path]) -> None:
    source, target = pair
    buffer = io.BytesIO()
    read_photograph(source).save(buffer, 'JPEG', **_OPTIONS)
    write_whole(target, buffer.getbuffer())
