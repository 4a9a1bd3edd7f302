"""Writing label images with several processes; what is written already is left alone."""

from __future__ import annotations

import gc
import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from mmseg_encnet.checkpoints.whole_files import remove_leftovers, write_whole
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.archives import START_OVER

_Task = TypeVar('_Task')
_Result = TypeVar('_Result')


@dataclass(frozen=True)
class LabelTask:
    """One label image to write.

    Args:
        image: The image it belongs to; it has to exist and have the label's size.
        label: PNG file to write.
        source: What the converter draws the label from: anything that can be pickled, a path or
            the annotations of the one image.
    """

    image: Path
    label: Path
    source: Any


def write_labels(draw: Callable[[Any], np.ndarray], tasks: Sequence[LabelTask], jobs: int) -> None:
    """Draw label images and write each whole or not at all; those that exist are finished.

    Args:
        draw: Function of a module (it goes to other processes) that makes the label, ``(H, W)``
            uint8, from :attr:`LabelTask.source`, and raises :class:`UserError` if that is
            impossible, naming the file at fault.
        tasks: What to write.
        jobs: Number of processes.

    Raises:
        UserError: If an image is missing or has another size than its label, or ``draw`` says so.
    """
    for task in tasks:
        if not task.image.is_file():
            raise UserError(
                f'the image {task.image} is missing, though there is a label for it; {START_OVER}'
            )
    folders = {task.label.parent for task in tasks}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    # One listing a folder; asking for each file takes minutes on network file systems.
    finished = {folder / entry.name for folder in folders for entry in os.scandir(folder)}
    waiting = [task for task in tasks if task.label not in finished]
    progress = tqdm(total=len(tasks), initial=len(tasks) - len(waiting), desc='labels', unit='img')
    with progress:
        for _ in run_parallel(partial(_write_label, draw), waiting, jobs):
            progress.update()
    # At the end, when also the workers of a converter that was killed just before are gone.
    for folder in folders:
        remove_leftovers(folder)


def run_parallel(
    function: Callable[[_Task], _Result], tasks: Iterable[_Task], jobs: int
) -> Iterator[_Result]:
    """Yield the results of a function over tasks, in the order in which they come.

    Args:
        function: Function of a module; what it raises is raised here.
        tasks: Its arguments, one each.
        jobs: Number of processes; with 1 everything happens in this one.
    """
    if jobs == 1:
        yield from map(function, tasks)
        return
    # Where processes can be forked they need not import the toolbox again, which takes seconds.
    context = multiprocessing.get_context('fork' if sys.platform == 'linux' else 'spawn')
    with ProcessPoolExecutor(jobs, context, initializer=_begin_worker) as pool:
        pending = set()
        try:
            for task in tasks:
                # A bound, so that the sources of a whole data set are not pickled at once.
                if len(pending) >= 4 * jobs:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
                pending.add(pool.submit(function, task))
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                f'one of {jobs} processes was killed, perhaps for lack of memory; run '
                'again with fewer --jobs, finished work is kept.'
            ) from error
        finally:
            for future in pending:
                future.cancel()


def read_label(path: Path) -> np.ndarray:
    """The values of a label image of one channel, ``(H, W)``; palette images give their indices.

    Raises:
        UserError: If the file is missing or damaged, or has more than one channel.
    """
    with _explained(path):
        label = np.asarray(Image.open(path))
    if label.ndim != 2:
        raise UserError(
            f'the label {path} has {label.shape[-1]} channels, expected one with the '
            f'class indices; delete it, {START_OVER}'
        )
    return label


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image, from its header.

    Raises:
        UserError: If the file is missing or no image.
    """
    with _explained(path), Image.open(path) as image:
        return image.height, image.width


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what reading an image file can raise into the sentence for it."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f'{path} is missing; {START_OVER}') from error
    # Pillow reports broken PNG files as SyntaxError, and truncated ones as OSError.
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f'{path} is damaged ({error}); delete it, {START_OVER}') from error


def _write_label(draw: Callable[[Any], np.ndarray], task: LabelTask) -> None:
    try:
        label = draw(task.source)
    except UserError:
        raise
    except Exception as error:
        raise RuntimeError(f'drawing {task.label} failed') from error
    size = image_size(task.image)
    if label.shape != size:
        raise UserError(
            f'the label for {task.image} is {label.shape[1]} x {label.shape[0]} pixels '
            f'large, the image {size[1]} x {size[0]}; they do not belong together; '
            f'delete {task.image}, {START_OVER}'
        )
    buffer = io.BytesIO()
    Image.fromarray(label).save(buffer, 'PNG')
    write_whole(task.label, buffer.getbuffer())


def _begin_worker() -> None:
    """Let a worker leave the parent's memory alone, and end with it however that ends."""
    # Garbage collection would touch, and so copy, all annotations that the parent holds.
    gc.freeze()
    # The parent gets the interrupt too, and sees to the end of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
