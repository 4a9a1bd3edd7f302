"""Write predictions: label files, overlays, context sheets and one record per image."""

from __future__ import annotations

import io
import json
import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from mmseg.structures import SegDataSample
from PIL import Image

from mmseg_encnet.checkpoints.whole_files import write_whole
from mmseg_encnet.disk import check_folder, explain_os_error
from mmseg_encnet.errors import UserError
from mmseg_encnet.folder_lock import FolderLock
from mmseg_encnet.predicting.inputs import ImageFile, InputImage, Video
from mmseg_encnet.predicting.pipeline import Prediction, predict_images
from mmseg_encnet.predicting.segmentor import LoadedImage, Segmentor
from mmseg_encnet.visualization.class_colours import colour

OPACITY = 0.5


class PredictionWriter:
    """Write the predictions of a segmentor into a folder, without partially written files.

    - Label files: one PNG per image, in the folder structure of the inputs. Pixel values are class
      indices, which viewers show in the colours of the classes. A palette has 256 entries: with
      more classes the PNG is 16-bit greyscale.
    - ``overlays/``: images blended with the colours of their classes, and one such video per input
      video.
    - ``sheets/``: the context sheets.
    - ``predictions.jsonl``: one line per image, see :meth:`write`. It is created, or replaces an
      existing one, when the context manager exits without an error.

    Args:
        out_dir: Output folder.
        segmentor: Segmentor that makes the predictions.
        overlays: Whether to write overlays of images; overlay videos are always written.
        sheets: Whether to write context sheets.
    """

    def __init__(
        self, out_dir: Path, segmentor: Segmentor, overlays: bool = False, sheets: bool = False
    ) -> None:
        self.out_dir = out_dir
        self.classes = segmentor.classes
        self.palette = segmentor.palette
        self.overlays = overlays
        self.sheets = sheets
        self._video: _OverlayVideo | None = None
        self._lock = FolderLock(out_dir, f'output folder {out_dir}', 'choose another one')

    def __enter__(self) -> PredictionWriter:
        """Create the folder.

        Raises:
            UserError: The folder is not writable, or another writer uses it.
        """
        records = self.out_dir / 'predictions.jsonl'
        self._aside = records.with_name(f'{records.name}.part')
        check_folder(self.out_dir)
        # Two writers would lose each other's records.
        self._lock.take()
        try:
            self._records = self._aside.open('w', encoding='utf-8')
        except OSError as error:
            self._lock.release()
            raise UserError(f'output folder {explain_os_error(error)}') from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._records.close()
        if kind is None:
            self._aside.replace(self.out_dir / 'predictions.jsonl')
        else:
            self._aside.unlink()
        self._lock.release()

    @contextmanager
    def video(self, entry: ImageFile | Video) -> Iterator[None]:
        """Write the overlays of a video's frames to an overlay video; ignore image files."""
        if isinstance(entry, ImageFile):
            yield
            return
        path = self.out_dir / 'overlays' / entry.target.with_name(f'{entry.target.name}.mp4')
        self._video = _OverlayVideo(path, entry.frame_rate)
        try:
            yield
            self._video.finish()
        finally:
            self._video.discard()
            self._video = None

    def write(self, image: InputImage, loaded: LoadedImage, sample: SegDataSample) -> None:
        """Write one prediction.

        Its record has the fields ``image`` (or ``video``, ``frame`` and ``time`` in seconds),
        ``labels`` (the label file, relative to the output folder), ``width``, ``height``,
        ``areas`` (for each predicted class its share of the pixels) and, if the model predicts it,
        ``presence`` (for each class the probability that it is in the image, null if it is not
        finite).

        Args:
            image: The image as :func:`find_inputs` lists it.
            loaded: The decoded image.
            sample: Its prediction.
        """
        labels = sample.pred_sem_seg.data[0].cpu().numpy()
        write_whole(self.out_dir / image.target, self._label_file(labels))
        if self.overlays or self.sheets or self._video:
            rgb = loaded.rgb()
            if self.overlays or self._video:
                self._write_overlay(image, rgb, labels)
            if self.sheets:
                self._write_sheet(image, rgb, sample)
        record = self._record(image, sample, labels)
        self._records.write(json.dumps(record, allow_nan=False) + '\n')

    def _write_overlay(self, image: InputImage, rgb: np.ndarray, labels: np.ndarray) -> None:
        colours = Image.fromarray(colour(labels, self.palette))
        overlay = Image.blend(Image.fromarray(rgb), colours, OPACITY)
        if self.overlays:
            target = (self.out_dir / 'overlays' / image.target).with_suffix('.jpg')
            write_whole(target, _encoded(overlay, 'JPEG', quality=92))
        if self._video:
            self._video.add(overlay)

    def _write_sheet(self, image: InputImage, rgb: np.ndarray, sample: SegDataSample) -> None:
        # Imports Matplotlib, which predictions without sheets do not need.
        from mmseg_encnet.visualization.context_sheet import ContextPrediction, draw_sheet

        context = ContextPrediction.from_data_sample(rgb, sample, self.classes, self.palette)
        buffer = io.BytesIO()
        draw_sheet(context, image.title).savefig(buffer, format='png')
        write_whole(self.out_dir / 'sheets' / image.target, buffer.getvalue())

    def _label_file(self, labels: np.ndarray) -> bytes:
        indexed = len(self.classes) <= 256
        image = Image.fromarray(labels.astype(np.uint8 if indexed else np.uint16))
        if indexed:
            image.putpalette(np.asarray(self.palette, dtype=np.uint8).tobytes())
        return _encoded(image, 'PNG')

    def _record(
        self, image: InputImage, sample: SegDataSample, labels: np.ndarray
    ) -> dict[str, Any]:
        height, width = labels.shape
        shares = np.bincount(labels.ravel(), minlength=len(self.classes)) / labels.size
        record: dict[str, Any] = dict(
            image.origin, labels=str(image.target), width=width, height=height
        )
        record['areas'] = {
            name: round(float(share), 6) for name, share in zip(self.classes, shares) if share
        }
        if 'presence' in sample:
            record['presence'] = {
                name: round(value, 4) if math.isfinite(value) else None
                for name, value in zip(self.classes, sample.presence.tolist())
            }
        return record


def write_predictions(
    segmentor: Segmentor,
    entries: Iterable[ImageFile | Video],
    writer: PredictionWriter,
    batch_size: int | None = None,
) -> Iterator[UserError | None]:
    """Predict images and write the results.

    Images are read, predicted and written at the same time, see
    :mod:`mmseg_encnet.predicting.pipeline`.

    Args:
        segmentor: The segmentor.
        entries: The images and videos.
        writer: The writer, in its context.
        batch_size: As of :func:`mmseg_encnet.predicting.pipeline.predict_images`.

    Yields:
        For each image in order, once it is written: None, or the error if it could not be read or
        predicted.

    Raises:
        UserError: A video cannot be read or written.
    """
    # The pipeline reads ahead, so it has the next entries when it returns an image of this one.
    owners: deque[ImageFile | Video] = deque()

    def images() -> Iterator[InputImage]:
        for entry in entries:
            for image in entry.images():
                owners.append(entry)
                yield image

    predictions = predict_images(segmentor, images(), writer.sheets, batch_size)
    try:
        with ThreadPoolExecutor(1, 'write') as pool:
            for entry, group in groupby(predictions, key=lambda _: owners.popleft()):
                with writer.video(entry):
                    yield from _write_in_order(group, writer, pool)
    finally:
        predictions.close()


def _write_in_order(
    predictions: Iterable[Prediction], writer: PredictionWriter, pool: ThreadPoolExecutor
) -> Iterator[UserError | None]:
    """Write each prediction of an entry in a thread while the next one is computed."""
    written: Future[None] | None = None
    try:
        # For the last one, this loop computes the first one of the next entry.
        for prediction in predictions:
            if written is not None:
                written.result()
                yield None
                written = None
            if prediction.error is None:
                written = pool.submit(
                    writer.write, prediction.image, prediction.loaded, prediction.sample
                )
            elif isinstance(prediction.image.source, Path):
                yield prediction.error
            else:
                yield UserError(f'{prediction.image.title}: {prediction.error}')
        if written is not None:
            written.result()
            yield None
    finally:
        if written is not None:
            # Before the folder, or the video, is closed.
            wait([written])


class _OverlayVideo:
    """An overlay video, which takes its final name once it is complete."""

    def __init__(self, path: Path, frame_rate: float) -> None:
        self.path = path
        # OpenCV derives the format from the suffix.
        self.aside = path.with_name(f'{path.stem}.part{path.suffix}')
        self.frame_rate = frame_rate
        self.writer: cv2.VideoWriter | None = None

    def add(self, overlay: Image.Image) -> None:
        if self.writer is None:
            self.aside.parent.mkdir(parents=True, exist_ok=True)
            self.writer = cv2.VideoWriter(
                str(self.aside), cv2.VideoWriter.fourcc(*'mp4v'), self.frame_rate, overlay.size
            )
            if not self.writer.isOpened():
                raise UserError(
                    f'video {self.path} cannot be written: this OpenCV has no MPEG-4 encoder; '
                    'install opencv-python from PyPI.'
                )
        self.writer.write(np.asarray(overlay)[..., ::-1])

    def finish(self) -> None:
        if self.writer is not None:
            self.writer.release()
            self.aside.replace(self.path)

    def discard(self) -> None:
        """Delete the file unless it is complete."""
        if self.writer is not None:
            self.writer.release()
        self.aside.unlink(missing_ok=True)


def _encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()
