"""The record of a finished training, and the folder that holds a study's records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mmseg_encnet.checkpoints.whole_files import write_whole
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.studies.definition import Run


@dataclass(frozen=True)
class RunResult:
    """What is kept of a training when its weights are gone.

    Attributes:
        digest: What was trained, :meth:`Run.digest`.
        metrics: Of the final evaluation, in percent.
        validation: Pairs of iteration and the study's metric.
        loss: Pairs of iteration and training loss.
        areas: For each test image, ``[class, intersection, predicted, true]`` of the classes that
            have pixels there.
        num_classes: Number of classes.
        parameters: Number of parameters of the trained network.
        receptive_field: Of the backbone, in columns of the network's input.
        seconds_per_iteration: Median; on the CPU processor time, which other work on the machine
            does not change.
        peak_memory: Largest memory of the process while training, in bytes; of the GPU, if on one.
        machine: Where it ran.
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
    peak_memory: int
    machine: str

    def image_areas(self) -> np.ndarray:
        """Integers ``(images, 3, classes)``; see :class:`ImageAreas`."""
        areas = np.zeros((len(self.areas), 3, self.num_classes), dtype=np.int64)
        for image, rows in zip(areas, self.areas):
            for index, *counts in rows:
                image[:, index] = counts
        return areas


def sparse_areas(areas: np.ndarray) -> list[list[list[int]]]:
    """The ``areas`` of a result from integers ``(images, 3, classes)``."""
    return [
        [[int(c), *map(int, image[:, c])] for c in np.flatnonzero(image.any(axis=0))]
        for image in areas
    ]


class ResultFolder:
    """Records of finished and crashed trainings of one study.

    A file that is there is whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def _file(self, run: Run, suffix: str) -> Path:
        return self.path / f'{run.name}{suffix}'

    def read(self, run: Run) -> RunResult | None:
        """The result of a run, or None if it has not finished.

        Raises:
            UserError: If the file is no result, or one of another config.
        """
        file = self._file(run, '.json')
        if not file.is_file():
            return None
        try:
            result = RunResult(**json.loads(file.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(
                f'{file} is no result of a study ({error}); remove it to run this again.'
            ) from error
        if result.digest != run.digest():
            raise UserError(
                f'{file} was made with another config than {run.variant.name!r} has '
                'now; remove it to run this again, or take the former config back.'
            )
        return result

    def write(self, run: Run, result: RunResult) -> None:
        """Keep the result of a run."""
        self._write(self._file(run, '.json'), json.dumps(asdict(result), separators=(',', ':')))
        self._file(run, '.crash').unlink(missing_ok=True)

    def crash(self, run: Run) -> str | None:
        """Why a run crashed, or None if it did not."""
        file = self._file(run, '.crash')
        return file.read_text().strip() if file.is_file() else None

    def write_crash(self, run: Run, reason: str) -> None:
        """Keep why a run crashed."""
        self._write(self._file(run, '.crash'), reason + '\n')

    def missing(self, runs: Sequence[Run]) -> list[Run]:
        """The runs without a result, in their order."""
        return [run for run in runs if self.read(run) is None]

    def _write(self, file: Path, text: str) -> None:
        write_whole(file, text.encode())
