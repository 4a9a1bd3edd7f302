"""Curves, config and checkpoints in the folder of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any, Literal

from mmengine.config import Config

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.errors import UserError
from mmseg_encnet.values import LARGEST
from mmseg_encnet.workbench.formatting import read_json_lines

Which = Literal['last', 'best']


@dataclass(frozen=True)
class Curve:
    """One logged quantity over the iterations of a run.

    Attributes:
        steps: Iterations, ascending.
        values: Logged values, which may be NaN or infinite.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class RunRecord:
    """The content of a run folder.

    Attributes:
        path: The folder.
        training: Curves of training losses and the like, by their names in the log.
        validation: Curves of validation metrics, by their names in the log.
        config_file: The resolved config, or None.
        sessions: Number of logs; more than one if the run was resumed.
        broken_lines: Number of invalid lines in the logs, which a killed process can leave.
    """

    path: Path
    training: Mapping[str, Curve]
    validation: Mapping[str, Curve]
    config_file: Path | None
    sessions: int
    broken_lines: int

    @property
    def iterations(self) -> int:
        """The last iteration, in the log or of a checkpoint, as the log has every n-th only."""
        curves = [*self.training.values(), *self.validation.values()]
        saved = [
            int(path.stem.rpartition('_')[2])
            for path in self.path.glob('*iter_*.pth')
            if path.stem.rpartition('_')[2].isdigit()
        ]
        return max([curve.steps[-1] for curve in curves] + saved)

    @property
    def seconds_per_iteration(self) -> float | None:
        """Median of the logged times, which the start of the data workers does not affect."""
        curve = self.training.get('time')
        return median(curve.values) if curve else None

    @property
    def training_memory(self) -> int | None:
        """Peak GPU memory while training, in bytes; None on the CPU."""
        curve = self.training.get('memory')
        values = [value for value in curve.values if isfinite(value)] if curve else []
        return int(max(values)) * 2**20 if values else None

    @property
    def config_text(self) -> str:
        """The text of the resolved config, empty if there is none."""
        if self.config_file is None:
            return ''
        return self.config_file.read_text(encoding='utf-8', errors='replace')

    def config(self, options: Mapping[str, Any] | None = None) -> Config:
        """Return the resolved config, with overrides by dotted key.

        Raises:
            UserError: The config is missing or unreadable, or an option does not match it.
        """
        if self.config_file is None:
            raise UserError(
                f'run folder {self.path} contains no config.py; train with tools/train.py, which '
                'writes it.'
            )
        return load_config(str(self.config_file), dict(options or {}), str(self.path))

    def checkpoint(self, which: Which) -> Path:
        """Return the checkpoint of the last iteration, or of the best validation.

        Raises:
            UserError: The folder contains none.
        """
        best = _by_number(self.path.glob('best_*.pth'))
        if which == 'best':
            if not best:
                raise UserError(
                    f'run folder {self.path} contains no best_*.pth; set save_best of its '
                    'CheckpointHook, or use the last checkpoint.'
                )
            return best[-1]
        pointer = self.path / 'last_checkpoint'
        if pointer.is_file():
            # The pointer is an absolute path, which is wrong once the folder is moved.
            named = self.path / Path(os.fsdecode(pointer.read_bytes().strip())).name
            if named.is_file():
                return named
        numbered = [*self.path.glob('iter_*.pth'), *self.path.glob('epoch_*.pth')]
        if not numbered and not best:
            raise UserError(
                f'run folder {self.path} contains no checkpoint (iter_*.pth, epoch_*.pth); train '
                'until one is written.'
            )
        return (_by_number(numbered) or best)[-1]


def read_run(path: Path) -> RunRecord:
    """Read a run folder of mmengine's runner.

    A resumed run has one log per session. They are joined by iteration; a session that repeats
    iterations after a checkpoint replaces those of the earlier session.

    Raises:
        UserError: The folder does not exist or contains no training log.
    """
    if not path.is_dir():
        raise UserError(
            f'run folder {path} {"is a file" if path.exists() else "does not exist"}; '
            'pass the work dir of a training run.'
        )
    training: dict[str, dict[int, float]] = {}
    validation: dict[str, dict[int, float]] = {}
    config_file = None
    sessions = broken_lines = 0
    for log in _session_logs(path):
        entries = read_json_lines(log)
        records = [
            entry
            for entry in entries
            if isinstance(entry, dict)
            and type(entry.get('step')) is int
            and 0 <= entry['step'] <= LARGEST
        ]
        broken_lines += len(entries) - len(records)
        trained, validated = _split(records)
        if not trained:
            # A separate validation logs iteration 0, which is not part of the curves.
            continue
        sessions += 1
        start = min(step for step, _ in trained)
        for curves, entries in ((training, trained), (validation, validated)):
            for points in curves.values():
                for step in [step for step in points if step >= start]:
                    del points[step]
            for step, values in entries:
                for key, value in values.items():
                    curves.setdefault(key, {})[step] = value
        if log.with_name('config.py').is_file():
            config_file = log.with_name('config.py')
    if not sessions:
        raise UserError(
            f'run folder {path} contains no training log (*/vis_data/*.json with losses); pass '
            'the work dir of a training run that has started.'
        )
    if config_file is None and (path / 'config.py').is_file():
        config_file = path / 'config.py'
    return RunRecord(
        path, _curves(training), _curves(validation), config_file, sessions, broken_lines
    )


def _session_logs(path: Path) -> list[Path]:
    """Return the log of each session, oldest first, as their folders are named by time."""
    logs = []
    for folder in sorted(path.glob('*/vis_data')):
        # scalars.json repeats the log that is named by time, with further records.
        named = sorted(folder.glob('[0-9]*.json')) or sorted(folder.glob('*.json'))
        logs += named[:1]
    return logs


def _split(records: Iterable[dict[str, Any]]) -> tuple[list, list]:
    """Split training from validation records, each with its iteration."""
    trained, validated = [], []
    by_epoch = False
    for record in records:
        step = record['step']
        values = {
            key: float(value)
            for key, value in record.items()
            if key not in ('step', 'iter', 'epoch')
            and isinstance(value, (int, float))
            and (isinstance(value, float) or abs(value) <= LARGEST)
        }
        if any('loss' in key for key in values) and 'lr' in values:
            by_epoch = by_epoch or 'epoch' in record
            trained.append((step, values))
        else:
            # Epoch-based runs log the epoch as step of a validation.
            if by_epoch and step <= trained[-1][0]:
                step = trained[-1][0]
            values.pop('time', None)
            values.pop('data_time', None)
            validated.append((step, values))
    return trained, validated


def _curves(points: Mapping[str, Mapping[int, float]]) -> dict[str, Curve]:
    return {key: Curve(*zip(*sorted(values.items()))) for key, values in points.items() if values}


def _by_number(paths: Iterable[Path]) -> list[Path]:
    """Sort checkpoints by iteration or epoch."""
    return sorted(paths, key=lambda path: int((re.findall(r'\d+', path.stem) or ['0'])[-1]))
