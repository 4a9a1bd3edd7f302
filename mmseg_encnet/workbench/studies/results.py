"""Results of finished runs, and the folder that holds those of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mmseg_encnet.checkpoints.whole_files import write_whole
from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.formatting import parse_strict_json, strict_json
from mmseg_encnet.workbench.studies.definition import Run


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
        peak_memory: Peak memory of the process or the GPU while training, in bytes.
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
    peak_memory: int
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
            result = RunResult(**parse_strict_json(file.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(
                f'{file} is not a result of a study ({error}); delete it to repeat the run.'
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
        return file.read_text().strip() if file.is_file() else None

    def write_crash(self, run: Run, reason: str) -> None:
        """Write why a run crashed."""
        write_whole(self._file(run, '.crash'), f'{reason}\n'.encode())

    def missing(self, runs: Sequence[Run]) -> list[Run]:
        """Return the runs without a result, in order."""
        return [run for run in runs if self.read(run) is None]
