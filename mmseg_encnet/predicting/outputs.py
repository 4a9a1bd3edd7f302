"""What is left of predictions: label files, overlays, sheets and one record an image."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from mmseg.structures import SegDataSample
from PIL import Image

from mmseg_encnet.checkpoints.whole_files import write_whole
from mmseg_encnet.errors import UserError
from mmseg_encnet.predicting.inputs import ImageFile, Picture, Video
from mmseg_encnet.predicting.segmentor import Segmentor
from mmseg_encnet.visualization.class_colours import colour
from mmseg_encnet.visualization.context_sheet import ContextPrediction, draw_sheet

OPACITY = 0.5


class PredictionWriter:
    """Writes what a segmentor predicts into one folder; no file there is ever half-written.

    - Labels: one PNG a picture, below the folder as the inputs lay. Pixel values are class
      indices; viewers show the classes' colours. A palette has 256 entries: with more classes the
      PNG is a 16-bit grey one.
    - ``overlays/``: photographs with the classes' colours over them, and one video of them for
      each video.
    - ``sheets/``: the context sheets.
    - ``predictions.jsonl``: one line a picture, see :meth:`write`. It appears, in place of one
      from before, when the writer is left without an error.

    Args:
        out_dir: The folder.
        segmentor: Whose predictions they are.
        overlays: Whether to write overlays. A video's overlay video is always written.
        sheets: Whether to write sheets.
    """

    def __init__(
        self, out_dir: Path, segmentor: Segmentor, overlays: bool = False, sheets: bool = False
    ) -> None:
        self.out_dir = out_dir
        self.classes = segmentor.classes
        self.palette = np.asarray(segmentor.palette, dtype=np.uint8)
        self.overlays = overlays
        self.sheets = sheets
        self._video: _OverlayVideo | None = None

    def __enter__(self) -> PredictionWriter:
        """Open the folder.

        Raises:
            UserError: If it cannot be written to.
        """
        records = self.out_dir / 'predictions.jsonl'
        self._aside = records.with_name(f'{records.name}.part')
        try:
            self.out_dir.mkdir(parents=True, exist_ok=True)
            self._records = self._aside.open('w')
        except OSError as error:
            raise UserError(
                f'results cannot be written to {self.out_dir}: {error.strerror}; '
                'choose another folder.'
            ) from error
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

    @contextmanager
    def video(self, entry: ImageFile | Video) -> Iterator[None]:
        """Collect the overlays of the pictures of a video into a video; an image is no video."""
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

    def write(self, picture: Picture, sample: SegDataSample) -> None:
        """Write one prediction.

        Its record has ``image`` (or ``video``, ``frame`` and ``time`` in seconds), ``labels`` (the
        file of its labels, relative to the folder), ``width``, ``height``, ``areas`` (by name of
        the classes that occur in the prediction, shares of the pixels) and, where the model tells
        it, ``presence`` (by name of all classes, probability that it occurs).
        """
        labels = sample.pred_sem_seg.data[0].cpu().numpy()
        write_whole(self.out_dir / picture.target, self._label_file(labels))
        if self.overlays or self._video:
            overlay = self._overlay(picture, labels)
            if self.overlays:
                target = (self.out_dir / 'overlays' / picture.target).with_suffix('.jpg')
                write_whole(target, _encoded(overlay, 'JPEG', quality=92))
            if self._video:
                self._video.add(overlay)
        if self.sheets:
            context = ContextPrediction.from_data_sample(
                picture.rgb(), sample, self.classes, self.palette
            )
            buffer = io.BytesIO()
            draw_sheet(context, picture.title).savefig(buffer, format='png')
            write_whole(self.out_dir / 'sheets' / picture.target, buffer.getvalue())
        self._records.write(json.dumps(self._record(picture, sample, labels)) + '\n')

    def _label_file(self, labels: np.ndarray) -> bytes:
        indexed = len(self.classes) <= 256
        image = Image.fromarray(labels.astype(np.uint8 if indexed else np.uint16))
        if indexed:
            image.putpalette(self.palette.tobytes())
        return _encoded(image, 'PNG')

    def _overlay(self, picture: Picture, labels: np.ndarray) -> Image.Image:
        photograph = Image.fromarray(picture.rgb())
        return Image.blend(photograph, Image.fromarray(colour(labels, self.palette)), OPACITY)

    def _record(self, picture: Picture, sample: SegDataSample, labels: np.ndarray) -> dict:
        height, width = labels.shape
        shares = np.bincount(labels.ravel(), minlength=len(self.classes)) / labels.size
        record = dict(picture.origin, labels=str(picture.target), width=width, height=height)
        record['areas'] = {
            name: round(float(share), 6) for name, share in zip(self.classes, shares) if share
        }
        if 'presence' in sample:
            record['presence'] = {
                name: round(value, 4) for name, value in zip(self.classes, sample.presence.tolist())
            }
        return record


def write_predictions(
    segmentor: Segmentor, entries: Iterable[ImageFile | Video], writer: PredictionWriter
) -> Iterator[UserError | None]:
    """Predict pictures one by one and write the results.

    Yields:
        After each picture None, or the error of an image that could not be read.

    Raises:
        UserError: If a video cannot be read or written.
    """
    for entry in entries:
        with writer.video(entry):
            for picture in entry.pictures():
                try:
                    sample = segmentor.predict(picture.source, context_maps=writer.sheets)
                except UserError as error:
                    yield error
                    continue
                writer.write(picture, sample)
                yield None


class _OverlayVideo:
    """A video that appears when it is finished."""

    def __init__(self, path: Path, frame_rate: float) -> None:
        self.path = path
        # The suffix says the format.
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
                    f'video {self.path} cannot be written: this OpenCV has no MPEG-4 '
                    'encoder for it; install opencv-python from PyPI.'
                )
        self.writer.write(np.asarray(overlay)[..., ::-1])

    def finish(self) -> None:
        self.writer.release()
        self.aside.replace(self.path)

    def discard(self) -> None:
        """Leave nothing of it, unless it is finished."""
        if self.writer is not None:
            self.writer.release()
        self.aside.unlink(missing_ok=True)


def _encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()
