"""What the folder of a training tells without its data: curves, config, checkpoints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from mmengine.config import Config

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError

Which = Literal['last', 'best']


@dataclass(frozen=True)
class Curve:
    """One logged quantity over the iterations of a run.

    Attributes:
        steps: Iterations, ascending.
        values: The value at each; nan and infinity where the training had them.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class RunRecord:
    """A run folder, read.

    Attributes:
        path: The folder.
        training: Curves of what is logged while training, by the toolbox's name for it.
        validation: Curves of the metrics of its validations, in percent where the metric is.
        config_file: Its resolved config, or None where there is none.
        sessions: How many starts left a log; more than one if it was resumed.
        broken_lines: Lines of the log that are no JSON: a killed process leaves half a line.
    """

    path: Path
    training: Mapping[str, Curve]
    validation: Mapping[str, Curve]
    config_file: Path | None
    sessions: int
    broken_lines: int

    @property
    def iterations(self) -> int:
        """The last iteration that the log knows of."""
        curves = [*self.training.values(), *self.validation.values()]
        return max(curve.steps[-1] for curve in curves)

    @property
    def seconds_per_iteration(self) -> float | None:
        """Median of the logged times, which the start of the data workers does not move."""
        curve = self.training.get('time')
        return median(curve.values) if curve else None

    @property
    def training_memory(self) -> int | None:
        """Largest GPU memory in use while training, in bytes; the CPU has no such record."""
        curve = self.training.get('memory')
        return int(max(curve.values)) * 2**20 if curve else None

    @property
    def config_text(self) -> str:
        """The resolved config as it was written; empty where there is none."""
        if self.config_file is None:
            return ''
        return self.config_file.read_text(encoding='utf-8', errors='replace')

    def config(self, options: Mapping[str, Any] | None = None) -> Config:
        """The resolved config, with overrides by dotted key.

        Raises:
            UserError: If there is none, it cannot be read, or an option does not fit it.
        """
        if self.config_file is None:
            raise UserError(
                f'{self.path} holds no config.py, so its model is not known; train '
                'with tools/train.py, which writes it.'
            )
        return load_config(str(self.config_file), dict(options or {}), str(self.path))

    def checkpoint(self, which: Which) -> Path:
        """The checkpoint of the last iteration, or of the best validation.

        Raises:
            UserError: If the folder has none.
        """
        best = _by_number(self.path.glob('best_*.pth'))
        if which == 'best':
            if not best:
                raise UserError(
                    f'{self.path} holds no best_*.pth; set save_best of the '
                    'CheckpointHook in its config, or take the last checkpoint.'
                )
            return best[-1]
        pointer = self.path / 'last_checkpoint'
        if pointer.is_file():
            # It holds an absolute path, and folders get moved.
            named = self.path / Path(pointer.read_text().strip()).name
            if named.is_file():
                return named
        numbered = [*self.path.glob('iter_*.pth'), *self.path.glob('epoch_*.pth')]
        if not numbered and not best:
            raise UserError(
                f'{self.path} holds no checkpoint (iter_*.pth, epoch_*.pth); train '
                'until it has written one.'
            )
        return (_by_number(numbered) or best)[-1]


def read_run(path: Path) -> RunRecord:
    """Read a run folder as mmengine's runner leaves it.

    A resumed run has one log for each start. They are joined by iteration: where a later start
    repeats iterations after a checkpoint, its log replaces what the earlier one said of them.

    Raises:
        UserError: If it is no folder, or holds no log of a training.
    """
    if not path.is_dir():
        raise UserError(
            f'run folder {path} {"is a file" if path.exists() else "does not exist"}; '
            'give the work dir of a training.'
        )
    training: dict[str, dict[int, float]] = {}
    validation: dict[str, dict[int, float]] = {}
    config_file = None
    sessions = broken_lines = 0
    for log in _session_logs(path):
        records, broken = _records(log)
        broken_lines += broken
        trained, validated = _split(records)
        if not trained:
            # A validation alone starts at iteration 0 and belongs to no curve.
            continue
        sessions += 1
        start = min(step for step, _ in trained)
        for target, entries in ((training, trained), (validation, validated)):
            _forget_from(target, start)
            for step, values in entries:
                for key, value in values.items():
                    target.setdefault(key, {})[step] = value
        own = log.with_name('config.py')
        config_file = own if own.is_file() else config_file
    if not sessions:
        raise UserError(
            f'run folder {path} holds no log of a training (*/vis_data/*.json with '
            'losses); give the work dir of a training that has begun.'
        )
    if config_file is None and (path / 'config.py').is_file():
        config_file = path / 'config.py'
    return RunRecord(
        path, _curves(training), _curves(validation), config_file, sessions, broken_lines
    )


def _session_logs(path: Path) -> list[Path]:
    """The log of each start, oldest first: folders are named by the time of the start."""
    logs = []
    for folder in sorted(path.glob('*/vis_data')):
        # scalars.json repeats the log under the time's name, with what else was recorded.
        named = sorted(folder.glob('[0-9]*.json')) or sorted(folder.glob('*.json'))
        logs += named[:1]
    return logs


def _records(log: Path) -> tuple[list[dict[str, Any]], int]:
    records, broken = [], 0
    for line in log.read_text(encoding='utf-8', errors='replace').splitlines():
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            broken += 1
            continue
        if isinstance(record, dict) and isinstance(record.get('step'), int):
            records.append(record)
        else:
            broken += 1
    return records, broken


def _split(records: Iterable[dict[str, Any]]) -> tuple[list, list]:
    """Part training records from validation records, each with its iteration."""
    trained, validated = [], []
    by_epoch = False
    for record in records:
        step = record['step']
        values = {
            key: float(value)
            for key, value in record.items()
            if key not in ('step', 'iter', 'epoch') and isinstance(value, (int, float))
        }
        if any('loss' in key for key in values) and 'lr' in values:
            by_epoch = by_epoch or 'epoch' in record
            trained.append((step, values))
        else:
            # An epoch-based run counts its validations in epochs.
            if by_epoch and step <= trained[-1][0]:
                step = trained[-1][0]
            values.pop('time', None)
            values.pop('data_time', None)
            validated.append((step, values))
    return trained, validated


def _forget_from(curves: dict[str, dict[int, float]], start: int) -> None:
    for points in curves.values():
        for step in [step for step in points if step >= start]:
            del points[step]


def _curves(points: dict[str, dict[int, float]]) -> dict[str, Curve]:
    curves = {}
    for key, values in points.items():
        if values:
            steps = sorted(values)
            curves[key] = Curve(tuple(steps), tuple(values[step] for step in steps))
    return curves


def _by_number(paths: Iterable[Path]) -> list[Path]:
    """Checkpoints in the order of their iteration or epoch."""
    return sorted(paths, key=lambda path: int((re.findall(r'\d+', path.stem) or ['0'])[-1]))
