"""Writing photographs again as JPEG files, which the configs of the small data sets read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from mmseg_encnet.checkpoints.whole_files import remove_leftovers, write_whole
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.archives import START_OVER
from mmseg_encnet.workbench.converters.labels import run_parallel

# Colours at full resolution and a quality at which the loss is below a camera's noise.
_OPTIONS = dict(quality=95, subsampling=0)


def write_photographs(pairs: Sequence[tuple[Path, Path]], jobs: int) -> None:
    """Write images as JPEG files, each whole or not at all; those that exist are finished.

    Args:
        pairs: Image to read and file to write.
        jobs: Number of processes.

    Raises:
        UserError: If an image is missing or damaged.
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
    """An image in RGB.

    Raises:
        UserError: If it is missing or damaged.
    """
    try:
        with Image.open(path) as image:
            return image.convert('RGB')
    except FileNotFoundError as error:
        raise UserError(f'the image {path} is missing; {START_OVER}') from error
    # Pillow reports broken PNG files as SyntaxError.
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f'{path} is damaged ({error}); delete it, {START_OVER}') from error


def _write_photograph(pair: tuple[Path, Path]) -> None:
    source, target = pair
    buffer = io.BytesIO()
    read_photograph(source).save(buffer, 'JPEG', **_OPTIONS)
    write_whole(target, buffer.getbuffer())
