"""Results of finished runs, and the folder that holds those of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from mmseg_encnet.checkpoints.whole_files import write_whole
from mmseg_encnet.errors import UserError
from mmseg_encnet.values import brief, integer, mapping, number, sequence, text
from mmseg_encnet.workbench.formatting import parse_strict_json, strict_json
from mmseg_encnet.workbench.studies.definition import Run

# Metrics that a run records in addition to those of its config: the mean IoU if only classes are
# predicted that are in the image, and the average precision of the predicted presence.
GIVEN_PRESENCE = 'mIoU_given_presence'
PRESENCE_MAP = 'presence/mAP'


@dataclass(frozen=True)
class RunResult:
    """The result of a run, without its weights.

    Attributes:
        digest: Hash of the config, :meth:`Run.digest`.
        metrics: Metrics of the final evaluation, in percent.
        validation: Pairs of iteration and the study's metric.
        loss: Pairs of iteration and training loss.
        areas: For each test image, ``[class, intersection, predicted, true]`` of the classes with
            pixels in it.
        num_classes: Number of classes.
        parameters: Number of parameters of the trained network.
        receptive_field: Receptive field of the backbone, in input columns.
        seconds_per_iteration: Median; processor time if trained on the CPU.
        peak_memory: Peak memory of the process or the GPU while training, in bytes, or None if it
            was not recorded.
        machine: Processor or GPU, threads and PyTorch version.
    """

    digest: str
    metrics: dict[str, float]
    validation: list[tuple[int, float]]
    loss: list[tuple[int, float]]
    areas: list[list[list[int]]]
    num_classes: int
    parameters: int
    receptive_field: int
    seconds_per_iteration: float
    peak_memory: int | None
    machine: str

    def image_areas(self) -> np.ndarray:
        """Return the integers ``(images, 3, classes)`` of :class:`ImageAreas`."""
        areas = np.zeros((len(self.areas), 3, self.num_classes), dtype=np.int64)
        for image, rows in zip(areas, self.areas):
            for index, *counts in rows:
                image[:, index] = counts
        return areas


def sparse_areas(areas: np.ndarray) -> list[list[list[int]]]:
    """Return the ``areas`` of a result from integers ``(images, 3, classes)``."""
    return [
        [[int(c), *map(int, image[:, c])] for c in np.flatnonzero(image.any(axis=0))]
        for image in areas
    ]


_MAX_CLASSES = 10_000
_MAX_PIXELS = 2**40
# Images times classes, which take 24 bytes each.
_MAX_AREAS = 30_000_000


def _parse(content: Any) -> RunResult:
    """Return a result from the content of its file.

    Raises:
        UserError: An entry is missing, has another type or an impossible value; the message starts
            with a verb.
    """
    content = mapping(content, 'its content')
    names = {entry.name for entry in fields(RunResult)}
    if content.keys() != names:
        wrong = brief(min(names ^ content.keys()))
        raise UserError(f'{"lacks" if names - content.keys() else "has the unknown entry"} {wrong}')
    num_classes = integer(content['num_classes'], 'num_classes', 1, _MAX_CLASSES)
    images = len(sequence(content['areas'], 'areas'))
    if images * num_classes > _MAX_AREAS:
        raise UserError(
            f'has {images} images and {num_classes} classes, expected a product of at most '
            f'{_MAX_AREAS}'
        )
    areas = [
        [_areas_of_class(row, num_classes) for row in sequence(image, 'an image of areas')]
        for image in sequence(content['areas'], 'areas')
    ]
    seconds = number(content['seconds_per_iteration'], 'seconds_per_iteration')
    if not (isfinite(seconds) and seconds >= 0):
        raise UserError(f'has {seconds} as seconds_per_iteration, expected a time')
    return RunResult(
        digest=text(content['digest'], 'digest'),
        metrics={
            name: number(value, f'metric {brief(name)}')
            for name, value in mapping(content['metrics'], 'metrics').items()
        },
        validation=_curve(content['validation'], 'validation'),
        loss=_curve(content['loss'], 'loss'),
        areas=areas,
        num_classes=num_classes,
        parameters=integer(content['parameters'], 'parameters', 1),
        receptive_field=integer(content['receptive_field'], 'receptive_field', 1),
        seconds_per_iteration=seconds,
        peak_memory=_peak_memory(content['peak_memory']),
        machine=text(content['machine'], 'machine'),
    )


def _peak_memory(value: Any) -> int | None:
    # The file has null, which is read as NaN.
    return None if value != value else integer(value, 'peak_memory')


def _areas_of_class(row: Any, num_classes: int) -> list[int]:
    index, *counts = sequence(row, 'a class of areas', 4)
    return [
        integer(index, 'a class of areas', high=num_classes - 1),
        *(integer(count, 'a number of pixels', high=_MAX_PIXELS) for count in counts),
    ]


def _curve(value: Any, name: str) -> list[tuple[int, float]]:
    if not sequence(value, name):
        raise UserError(f'has no point in {name}')
    points = [sequence(point, f'a point of {name}', 2) for point in value]
    return [
        (integer(step, f'a step of {name}'), number(y, f'a value of {name}')) for step, y in points
    ]


class ResultFolder:
    """The results of the finished runs of a study, and the reasons why others crashed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _file(self, run: Run, suffix: str) -> Path:
        return self.path / f'{run.name}{suffix}'

    def read(self, run: Run) -> RunResult | None:
        """Return the result of a run, or None if it has not finished.

        Raises:
            UserError: The file is not a result, or belongs to another config.
        """
        file = self._file(run, '.json')
        if not file.is_file():
            return None
        try:
            result = _parse(parse_strict_json(file.read_text('utf-8')))
        except ValueError as error:
            problem = str(error) if isinstance(error, UserError) else 'is not standard JSON'
            raise UserError(
                f'{file} is not a result of a study: it {problem}; delete it to repeat the run.'
            ) from error
        if result.digest != run.digest():
            raise UserError(
                f'{file} belongs to another config than that of {run.variant.name!r}; delete it '
                'to repeat the run, or restore the former config.'
            )
        return result

    def write(self, run: Run, result: RunResult) -> None:
        """Write the result of a run."""
        text = strict_json(asdict(result), separators=(',', ':'))
        write_whole(self._file(run, '.json'), text.encode())
        self._file(run, '.crash').unlink(missing_ok=True)

    def crash(self, run: Run) -> str | None:
        """Return why a run crashed, or None."""
        file = self._file(run, '.crash')
        return file.read_text('utf-8').strip() if file.is_file() else None

    def write_crash(self, run: Run, reason: str) -> None:
        """Write why a run crashed."""
        write_whole(self._file(run, '.crash'), f'{reason}\n'.encode())

    def missing(self, runs: Sequence[Run]) -> list[Run]:
        """Return the runs without a result, in order."""
        return [run for run in runs if self.read(run) is None]
