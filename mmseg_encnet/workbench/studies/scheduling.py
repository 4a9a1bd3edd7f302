"""Running what is missing of a study, several trainings at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mmseg_encnet.workbench.studies.definition import Run, Study
from mmseg_encnet.workbench.studies.execution import PROGRESS
from mmseg_encnet.workbench.studies.results import ResultFolder

POLL_SECONDS = 2.0


class _Workers:
    """Trainings in processes of their own, which end when this one does."""

    def __init__(
        self,
        study: Study,
        folder: ResultFolder,
        folders: Mapping[Run, Path],
        threads: int,
        options: Mapping[str, Any],
    ) -> None:
        self.study = study
        self.folder = folder
        self.threads = threads
        self.options = options
        self._folders = folders
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen] = set()
        self._stopped = False

    def train(self, run: Run) -> str | None:
        """Train one run to its end; None, or why it crashed."""
        work_dir = self._folders[run]
        work_dir.mkdir(parents=True, exist_ok=True)
        order = dict(
            variant=asdict(run.variant),
            seed=run.seed,
            metric=self.study.metric,
            work_dir=str(work_dir),
            results=str(self.folder.path),
            options=dict(self.options),
        )
        with (work_dir / 'output.txt').open('a') as output:
            with self._lock:
                if self._stopped:
                    return None
                process = subprocess.Popen(
                    [sys.executable, '-m', 'mmseg_encnet.workbench.studies.execution'],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env=dict(os.environ, OMP_NUM_THREADS=str(self.threads)),
                )
                self._processes.add(process)
            # As Python literals: JSON would turn the tuples of configs into lists. The pipe
            # stays open: the process ends when it closes.
            process.stdin.write(f'{order!r}\n')
            process.stdin.flush()
            process.wait()
            process.stdin.close()
        with self._lock:
            self._processes.discard(process)
        if process.returncode == 0 or self._stopped:
            return None
        lines = (work_dir / 'output.txt').read_text(errors='replace').split('\n')
        reason = next((line for line in reversed(lines) if line.strip()), '')
        return f'exit status {process.returncode}: {reason.strip()}'

    def iteration(self, run: Run) -> int:
        """How far a run has come."""
        try:
            return int((self._folders[run] / PROGRESS).read_text() or 0)
        except (FileNotFoundError, ValueError):
            return 0

    def stop(self) -> None:
        """End all trainings; the next attempt goes on from their checkpoints."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.terminate()


def run_missing(
    study: Study, folder: ResultFolder, work_dir: Path, workers: int, options: Mapping[str, Any]
) -> list[Run]:
    """Train every run that has no result yet, with one display of progress.

    It may be killed at any moment and started again: finished runs are not repeated, unfinished
    ones go on from their last checkpoint.

    Args:
        study: The study.
        folder: Where results are kept.
        work_dir: Where unfinished trainings keep logs and checkpoints.
        workers: Trainings at a time; they share the machine's cores.
        options: Overrides that do not belong to the study, such as where the data lie.

    Returns:
        The runs that crashed.
    """
    missing = folder.missing(study.runs)
    lengths = {run: run.load(work_dir).train_cfg.max_iters for run in missing}
    threads = max((os.cpu_count() or 1) // workers, 1)
    # With the digest: what a former config left behind is not gone on with.
    folders = {run: work_dir / f'{run.name}_{run.digest()}' for run in missing}
    pool = _Workers(study, folder, folders, threads, options)
    crashed: list[Run] = []
    progress = Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn('iterations'),
        TimeElapsedColumn(),
        TextColumn('left'),
        TimeRemainingColumn(elapsed_when_finished=True, compact=False),
    )
    done = len(study.runs) - len(missing)
    with progress, ThreadPoolExecutor(workers) as threads_pool:
        start = {run: pool.iteration(run) for run in missing}
        bar = progress.add_task(study.name, total=sum(lengths.values()) - sum(start.values()))
        futures: dict[Future, Run] = {threads_pool.submit(pool.train, run): run for run in missing}
        waiting, finished = set(futures), 0
        try:
            while waiting:
                ended, waiting = wait(waiting, POLL_SECONDS, FIRST_COMPLETED)
                for future in ended:
                    run = futures[future]
                    reason = future.result()
                    finished += lengths[run] - start[run]
                    done += reason is None
                    if reason is not None:
                        crashed.append(run)
                        folder.write_crash(run, reason)
                        progress.console.print(f'{run.name} crashed: {reason}', style='red')
                going = sum(
                    pool.iteration(futures[f]) - start[futures[f]] for f in waiting if f.running()
                )
                progress.update(
                    bar,
                    completed=finished + going,
                    description=f'{study.name} {done} of {len(study.runs)} runs',
                )
        finally:
            for future in waiting:
                future.cancel()
            pool.stop()
    return crashed
