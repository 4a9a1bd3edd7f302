"""Writing label images in parallel, without repeating finished ones."""

from __future__ import annotations

import gc
import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.archives import START_OVER

_Task = TypeVar('_Task')
_Result = TypeVar('_Result')


@dataclass(frozen=True)
class LabelTask:
    """A label image to write.

    Args:
        image: Image that the label belongs to. It must exist and have the size of the label.
        label: PNG file to write.
        source: Input of the converter's drawing function. It must be picklable, for example a path
            or the annotations of one image.
    """

    image: Path
    label: Path
    source: Any


def write_labels(draw: Callable[[Any], np.ndarray], tasks: Sequence[LabelTask], jobs: int) -> None:
    """Draw label images and write each of them atomically; skip those that exist.

    Args:
        draw: Module-level function (it runs in other processes) that returns the label, ``(H, W)``
            uint8, for a :attr:`LabelTask.source`, or raises :class:`UserError` with the name of the
            faulty file.
        tasks: Labels to write.
        jobs: Number of processes.

    Raises:
        UserError: An image is missing or differs in size from its label, or ``draw`` raised it.
    """
    for task in tasks:
        if not task.image.is_file():
            raise UserError(f'{task.image} is missing, but has a label; {START_OVER}')
    write_missing(partial(_write_label, draw), {task.label: task for task in tasks}, jobs, 'labels')


def write_missing(
    write: Callable[[tuple[Path, Any]], None], sources: Mapping[Path, Any], jobs: int, title: str
) -> None:
    """Write the files that do not exist yet, in parallel with a progress bar.

    Args:
        write: Module-level function that writes a file, given its path and source, atomically.
        sources: Source of each file.
        jobs: Number of processes.
        title: Title of the progress bar.
    """
    from mmseg_encnet.checkpoints.whole_files import remove_leftovers

    folders = {path.parent for path in sources}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    # Each folder is listed once: checking every file takes minutes on network file systems.
    finished = {folder / entry.name for folder in folders for entry in os.scandir(folder)}
    waiting = [item for item in sources.items() if item[0] not in finished]
    done = len(sources) - len(waiting)
    with tqdm(total=len(sources), initial=done, desc=title, unit='img') as progress:
        for _ in run_parallel(write, waiting, jobs):
            progress.update()
    # At the end, when the workers of a converter that was just killed have exited as well.
    for folder in folders:
        remove_leftovers(folder)


def run_parallel(
    function: Callable[[_Task], _Result], tasks: Iterable[_Task], jobs: int
) -> Iterator[_Result]:
    """Yield the results of a function over tasks, in order of completion.

    Unlike joblib, this forks its workers, which therefore need not import the toolbox, and reports
    a killed worker.

    Args:
        function: Module-level function of one task. Its exceptions are raised here.
        tasks: Arguments of the function.
        jobs: Number of processes; 1 runs the function in this process.

    Raises:
        UserError: A worker was killed.
    """
    if jobs == 1:
        yield from map(function, tasks)
        return
    # Forked processes need not import the toolbox again, which takes seconds.
    context = multiprocessing.get_context('fork' if sys.platform == 'linux' else 'spawn')
    with ProcessPoolExecutor(jobs, context, initializer=begin_worker) as pool:
        waiting = iter(tasks)
        # Bounded, so that the sources of a whole data set are not pickled at once.
        pending = {pool.submit(function, task) for task in islice(waiting, 4 * jobs)}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                pending |= {pool.submit(function, task) for task in islice(waiting, len(done))}
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                f'one of {jobs} processes was killed, possibly for lack of memory; run again with '
                'fewer --jobs; finished work is kept.'
            ) from error
        finally:
            for future in pending:
                future.cancel()


def read_label(path: Path) -> np.ndarray:
    """Return the values of a single-channel label image, ``(H, W)``; palette images give indices.

    Raises:
        UserError: The file is missing or damaged, or has more than one channel.
    """
    from mmseg_encnet.datasets.image_sizes import open_image

    with explained(path):
        label = np.asarray(open_image(path, kind='label'))
    if label.ndim != 2:
        raise UserError(
            f'the label {path} has {label.shape[-1]} channels, expected one of class indices; '
            f'delete it, {START_OVER}'
        )
    return label


def map_classes(source: Path, values: np.ndarray, class_of: Mapping[int, int]) -> np.ndarray:
    """Return the classes ``(H, W)`` uint8 of a publisher's values ``(H, W)``.

    Args:
        source: File of the values.
        values: The values, of any type.
        class_of: Class, or 255 to ignore, of each value from 0 to 255 that the publisher uses.

    Raises:
        UserError: There is another value.
    """
    table = np.full(256, -1, np.int16)
    table[list(class_of)] = list(class_of.values())
    indices = values.astype(np.uint8, copy=False)
    classes = table[indices]
    unknown = values[(classes < 0) | (indices != values)]
    if unknown.size:
        raise UserError(
            f'{source} contains the class {unknown[0]}, which is none of the {len(class_of)} of '
            f'the data set; delete it, {START_OVER}'
        )
    return classes.astype(np.uint8)


def draw_mapped(source: Path, class_of: Mapping[int, int]) -> np.ndarray:
    """Return the classes ``(H, W)`` uint8 of a label image; see :func:`map_classes`."""
    return map_classes(source, read_label(source), class_of)


def image_size(path: Path) -> tuple[int, int]:
    """Return the height and width of an image, from its header.

    Raises:
        UserError: The file is missing or not an image.
    """
    from mmseg_encnet.datasets.image_sizes import stored_size

    with explained(path):
        size = stored_size(path)
        if size is None:
            path.open('rb').close()
            raise ValueError('not an image')
        return size.height, size.width


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn exceptions from reading an image file into a UserError."""
    from mmseg_encnet.datasets.loading import check_regular

    check_regular(path)
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f'{path} is missing; {START_OVER}') from error
    except UserError:
        raise
    # Pillow raises SyntaxError for broken PNG files and OSError for truncated ones.
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f'{path} is damaged ({error}); delete it, {START_OVER}') from error


def _write_label(draw: Callable[[Any], np.ndarray], item: tuple[Path, LabelTask]) -> None:
    path, task = item
    try:
        label = draw(task.source)
    except UserError:
        raise
    except Exception as error:
        raise RuntimeError(f'drawing {path} failed') from error
    size = image_size(task.image)
    if label.shape != size:
        raise UserError(
            f'the label of {task.image} has {label.shape[1]} x {label.shape[0]} pixels, expected '
            f'{size[1]} x {size[0]} as in the image; delete the image, {START_OVER}'
        )
    write_image(path, Image.fromarray(label))


def write_image(path: Path, image: Image.Image, **options: Any) -> None:
    """Write an image atomically; the suffix of the path selects the format."""
    from mmseg_encnet.checkpoints.whole_files import write_whole

    buffer = io.BytesIO()
    image.save(buffer, Image.registered_extensions()[path.suffix], **options)
    write_whole(path, buffer.getbuffer())


def begin_worker() -> None:
    """Keep a worker from copying its parent's memory, and end it when the parent ends."""
    # Garbage collection would write to, and thereby copy, all annotations of the parent.
    gc.freeze()
    # The parent receives the interrupt as well and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
