"""Train the unfinished runs of a study, several at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mmseg_encnet.disk import check_folder
from mmseg_encnet.workbench.studies.definition import Run, Study
from mmseg_encnet.workbench.studies.execution import PROGRESS
from mmseg_encnet.workbench.studies.results import ResultFolder

POLL_SECONDS = 2.0


@dataclass
class _Workers:
    """Runs in processes that exit with this one."""

    study: Study
    results: ResultFolder
    folders: Mapping[Run, Path]
    threads: int
    options: Mapping[str, Any]
    lock: threading.Lock = field(default_factory=threading.Lock)
    processes: set[subprocess.Popen] = field(default_factory=set)
    stopped: bool = False

    def train(self, run: Run) -> str | None:
        """Train one run; return why it crashed, or None."""
        work_dir = self.folders[run]
        work_dir.mkdir(parents=True, exist_ok=True)
        order = dict(
            variant=asdict(run.variant),
            seed=run.seed,
            metric=self.study.metric,
            work_dir=str(work_dir),
            results=str(self.results.path),
            options=dict(self.options),
        )
        with (work_dir / 'output.txt').open('a', encoding='utf-8') as output:
            with self.lock:
                if self.stopped:
                    return None
                process = subprocess.Popen(
                    [sys.executable, '-m', 'mmseg_encnet.workbench.studies.execution'],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env=dict(os.environ, OMP_NUM_THREADS=str(self.threads)),
                )
                self.processes.add(process)
            # Python literals, because JSON would turn the tuples of configs into lists. The pipe
            # stays open, because the process exits when it closes.
            process.stdin.write(f'{order!r}\n')
            process.stdin.flush()
            process.wait()
            process.stdin.close()
        with self.lock:
            self.processes.discard(process)
        if process.returncode == 0 or self.stopped:
            return None
        reason = (
            (work_dir / 'output.txt')
            .read_text('utf-8', errors='replace')
            .strip()
            .rpartition('\n')[2]
        )
        return f'exit status {process.returncode}: {reason}'

    def iteration(self, run: Run) -> int:
        """Return the last iteration of a run."""
        try:
            return int((self.folders[run] / PROGRESS).read_text('utf-8') or 0)
        except (FileNotFoundError, ValueError):
            return 0

    def stop(self) -> None:
        """Stop all runs; the next attempt continues from their checkpoints."""
        with self.lock:
            self.stopped = True
            for process in self.processes:
                process.terminate()


def run_missing(
    study: Study, folder: ResultFolder, work_dir: Path, workers: int, options: Mapping[str, Any]
) -> list[Run]:
    """Train every run without a result, with one progress bar; return the runs that crashed.

    The call can be killed and repeated: finished runs are skipped and unfinished ones continue
    from their last checkpoint.

    Args:
        study: Study of the runs.
        folder: Folder of the results.
        work_dir: Folder for logs and checkpoints of unfinished runs.
        workers: Number of simultaneous runs, which share the machine's cores.
        options: Overrides that are not part of the study, such as the location of the data.
    """
    for path in (work_dir, folder.path):
        check_folder(path)
    missing = folder.missing(study.runs)
    lengths = {run: run.load(work_dir).train_cfg.max_iters for run in missing}
    threads = max((os.cpu_count() or 1) // workers, 1)
    # The digest keeps checkpoints of a former config from being resumed.
    folders = {run: work_dir / f'{run.name}_{run.digest()}' for run in missing}
    pool = _Workers(study, folder, folders, threads, options)
    done = len(study.runs) - len(missing)
    crashed: list[Run] = []
    start = {run: pool.iteration(run) for run in missing}
    with (
        tqdm(total=sum(lengths.values()) - sum(start.values()), unit='iteration') as bar,
        ThreadPoolExecutor(workers) as executor,
    ):
        futures: dict[Future, Run] = {executor.submit(pool.train, run): run for run in missing}
        waiting, finished = set(futures), 0
        try:
            while waiting:
                ended, waiting = wait(waiting, POLL_SECONDS, FIRST_COMPLETED)
                for future in ended:
                    run = futures[future]
                    finished += lengths[run] - start[run]
                    reason = future.result()
                    if reason is None:
                        done += 1
                    else:
                        crashed.append(run)
                        folder.write_crash(run, reason)
                        tqdm.write(f'{run.name} crashed: {reason}')
                running = sum(
                    pool.iteration(futures[f]) - start[futures[f]] for f in waiting if f.running()
                )
                bar.set_description(f'{study.name} {done} of {len(study.runs)} runs', False)
                bar.update(finished + running - bar.n)
        finally:
            for future in waiting:
                future.cancel()
            pool.stop()
    return crashed
