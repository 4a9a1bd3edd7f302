"""Predict many images: files are read and decoded while the network computes.

On a GPU, and with a runtime that has threads of its own, the network computes batches of images of
equal size in the calling thread. On the CPU a batch is not faster than its images, one by one;
there, several threads each decode, prepare and predict an image, with a share of PyTorch's threads
each, because a layer of one image is too small to keep all processors busy.

Images and predictions that wait for others are limited in number and in bytes. Results are returned
in the order of the images.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmseg.structures import SegDataSample

from mmseg_encnet.datasets.image_sizes import stored_size
from mmseg_encnet.errors import UserError
from mmseg_encnet.predicting.inputs import InputImage
from mmseg_encnet.predicting.segmentor import LoadedImage, OutOfMemory, PreparedImage, Segmentor

# More threads would spend their time waiting for Python's interpreter lock.
MAX_WORKERS = 4
GPU_BATCH_SIZE = 8
# Pixels of the images that are decoded ahead.
AHEAD_BYTES = 2**28


@dataclass(frozen=True)
class Prediction:
    """What became of an image.

    Attributes:
        image: The image.
        loaded: The decoded image; None if there is an error.
        sample: Its prediction; None if there is an error.
        error: Why the image could not be read or predicted.
    """

    image: InputImage
    loaded: LoadedImage | None = None
    sample: SegDataSample | None = None
    error: UserError | None = None


class Throughput:
    """Measure how fast images are processed and how busy the processor is, as a context manager.

    Attributes:
        seconds: Time between entering and leaving.
        busy: CPU time of this process and of its children that have ended, divided by the time and
            the number of PyTorch's threads: 1 if they all computed all the time.
    """

    def __enter__(self) -> Throughput:
        self._start, self._cpu_start = time.perf_counter(), _cpu_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start
        threads = torch.get_num_threads()
        self.busy = (_cpu_seconds() - self._cpu_start) / (self.seconds * threads)

    def rate(self, count: int) -> float:
        """Return the images per second, given their number."""
        return count / self.seconds


def predict_images(
    segmentor: Segmentor,
    images: Iterable[InputImage],
    context_maps: bool = False,
    batch_size: int | None = None,
) -> Generator[Prediction, None, None]:
    """Predict images in their order.

    Args:
        segmentor: The segmentor.
        images: The images.
        context_maps: As of :meth:`Segmentor.predict`.
        batch_size: Largest number of images of equal size that the network computes at a time; by
            default 1 on the CPU and 8 on a GPU.

    Yields:
        The prediction of each image, or its error.
    """
    if batch_size is None:
        batch_size = 1 if segmentor.device.type == 'cpu' else GPU_BATCH_SIZE
    threads = torch.get_num_threads()
    workers = _num_workers(segmentor, threads) if batch_size == 1 else 1
    pipeline = _Pipeline(segmentor, context_maps, batch_size, workers, threads)
    try:
        yield from pipeline.run(images)
    finally:
        # After an error or a stop, without waiting for images that nobody needs.
        pipeline.pool.shutdown(wait=False, cancel_futures=True)
        if workers > 1:
            # New threads begin with the number that was set last, in any thread.
            torch.set_num_threads(threads)


@dataclass
class _Job:
    """An image between reading and its prediction.

    Attributes:
        image: The image.
        num_bytes: Size of its pixels, as far as it is known before they are decoded.
        task: The thread's work, which returns the prediction or the prepared image.
        prediction: The prediction.
    """

    image: InputImage
    num_bytes: int
    task: Future[Prediction | PreparedImage]
    prediction: Prediction | None = None


class _Pipeline:
    def __init__(
        self,
        segmentor: Segmentor,
        context_maps: bool,
        batch_size: int,
        workers: int,
        threads: int,
    ) -> None:
        self.segmentor, self.context_maps, self.batch_size = segmentor, context_maps, batch_size
        self.workers = workers
        # The first image is predicted alone: what the network prepares once is then shared.
        self.first = True
        readers = min(MAX_WORKERS, os.cpu_count() or 1)
        self.ahead = 2 * batch_size + (workers if workers > 1 else readers)
        self.pool = (
            ThreadPoolExecutor(
                workers, 'predict', torch.set_num_threads, (max(threads // workers, 1),)
            )
            if workers > 1
            else ThreadPoolExecutor(readers, 'read')
        )

    def run(self, images: Iterable[InputImage]) -> Iterator[Prediction]:
        jobs: deque[_Job] = deque()
        for image in images:
            num_bytes = _pixel_bytes(image)
            while jobs and not self._has_room(jobs, num_bytes):
                yield self._oldest(jobs)
            task = self.pool.submit(self._process, image, self.workers > 1 and not self.first)
            jobs.append(_Job(image, num_bytes, task))
            while jobs and jobs[0].prediction is not None:
                yield self._oldest(jobs)
        while jobs:
            yield self._oldest(jobs)

    def _has_room(self, jobs: Sequence[_Job], num_bytes: int) -> bool:
        held = sum(job.num_bytes for job in jobs)
        limit = 1 if self.first and self.workers > 1 else self.ahead
        return len(jobs) < limit and held + num_bytes <= AHEAD_BYTES

    def _process(self, image: InputImage, predict: bool) -> Prediction | PreparedImage:
        """Read and prepare an image and, if it is small, predict it, in a thread."""
        try:
            prepared = self.segmentor.prepare(self.segmentor.load(image.source))
        except UserError as error:
            return Prediction(image, error=error)
        # A large one needs the memory, and keeps all processors busy, alone.
        if predict and not prepared.is_large:
            try:
                (sample,) = self.segmentor.predict_batch([prepared], self.context_maps)
            except OutOfMemory:
                return prepared
            except UserError as error:
                return Prediction(image, error=error)
            return Prediction(image, prepared.loaded, sample)
        return prepared

    def _oldest(self, jobs: deque[_Job]) -> Prediction:
        """Remove the oldest job, and return its prediction."""
        if jobs[0].prediction is None:
            self._finish(jobs)
        prediction = jobs.popleft().prediction
        assert prediction is not None
        return prediction

    def _finish(self, jobs: Sequence[_Job]) -> None:
        """Set the prediction of the oldest job, and of others of its batch."""
        batch: list[tuple[_Job, PreparedImage]] = []
        for job in jobs:
            if job.prediction is not None:
                continue
            result = job.task.result()
            if isinstance(result, Prediction):
                job.prediction = result
                self.first &= result.error is not None
                if not batch:
                    return
                continue
            job.num_bytes = result.loaded.results['img'].nbytes
            if not batch or result.batch_key == batch[0][1].batch_key:
                batch.append((job, result))
            if len(batch) == self.batch_size or batch[0][1].is_large:
                break
        for job, result in zip((job for job, _ in batch), self._predict([p for _, p in batch])):
            job.prediction = Prediction(job.image, *result)
            self.first &= job.prediction.error is not None

    def _predict(
        self, batch: Sequence[PreparedImage]
    ) -> list[tuple[LoadedImage | None, SegDataSample | None, UserError | None]]:
        """Predict prepared images together or, if that fails, one by one."""
        try:
            samples = self.segmentor.predict_batch(batch, self.context_maps)
        except UserError as error:
            if len(batch) == 1:
                return [(None, None, error)]
        else:
            return [(one.loaded, sample, None) for one, sample in zip(batch, samples)]
        # Outside the handler, whose exception refers to the tensors that did not fit.
        return [result for one in batch for result in self._predict([one])]


def _num_workers(segmentor: Segmentor, threads: int) -> int:
    """Return the number of images to predict at the same time."""
    if segmentor.device.type != 'cpu' or segmentor.has_own_threads:
        return 1
    return min(threads, MAX_WORKERS)


def _pixel_bytes(image: InputImage) -> int:
    """Return the size of the pixels of an image as far as the header of its file tells, or 0."""
    if not isinstance(image.source, Path):
        return image.source.nbytes
    size = stored_size(image.source) if image.source.is_file() else None
    return 0 if size is None else 3 * size.height * size.width


def _cpu_seconds() -> float:
    times: Any = os.times()
    return times.user + times.system + times.children_user + times.children_system
