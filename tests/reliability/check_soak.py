"""Monitor the resources of the processes over a run of two thousand iterations."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import record
import torch
from mmengine.hooks import Hook
from tiny_scenes import CONFIG, TINY_SCENES

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.running.runner import EncNetRunner

ITERATIONS = 2000
# By then every worker has started, taken part in a validation and filled its caches.
WARM_UP = 600
SAMPLES_EVERY = 50
_MEBIBYTE = 2**20
# Smaller differences between two thirds of the run are due to the allocator.
_TOLERATED_GROWTH = 5 * _MEBIBYTE


class Sample(NamedTuple):
    """Resources of the run and its workers at one iteration."""

    iteration: int
    memory: int
    processes: int
    files: int
    threads: int


class WatchHook(Hook):
    """Takes a :class:`Sample` at regular intervals."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        # Between the validations and the checkpoints, which are at round numbers.
        if runner.iter % SAMPLES_EVERY != SAMPLES_EVERY // 2:
            return
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        self.samples.append(
            Sample(
                runner.iter,
                # Unshared memory: pages shared since the fork would count several times.
                sum(process.memory_full_info().uss for process in processes),
                len(processes),
                sum(process.num_fds() for process in processes),
                sum(process.num_threads() for process in processes),
            )
        )


def measure() -> record.Figures:
    torch.set_num_threads(1)
    watch = WatchHook()
    with tempfile.TemporaryDirectory() as folder:
        cfg = load_config(
            CONFIG,
            {
                **TINY_SCENES,
                'train_cfg.max_iters': ITERATIONS,
                'train_cfg.val_interval': 200,
                'default_hooks.checkpoint.interval': 100,
                'default_hooks.logger.interval': 10,
                'train_dataloader.num_workers': 2,
                'train_dataloader.persistent_workers': True,
                'val_dataloader.num_workers': 1,
                'val_dataloader.persistent_workers': True,
                'log_level': 'WARNING',
                'randomness.seed': 0,
            },
            folder,
        )
        runner = EncNetRunner.from_cfg(cfg)
        runner.register_hook(watch)
        runner.train()

    steady = [sample for sample in watch.samples if sample.iteration > WARM_UP]
    third = len(steady) // 3
    early, late = steady[:third], steady[-third:]
    growth = statistics.median(sample.memory for sample in late) - statistics.median(
        sample.memory for sample in early
    )
    assert growth < _TOLERATED_GROWTH, f'memory grew by {growth / _MEBIBYTE:.1f} MiB'
    figures = {
        'iterations': ITERATIONS,
        'iterations taken as warm-up': WARM_UP,
        'memory after warm-up, MiB (median of the first third)': round(
            statistics.median(sample.memory for sample in early) / _MEBIBYTE, 1
        ),
        'memory at the end, MiB (median of the last third)': round(
            statistics.median(sample.memory for sample in late) / _MEBIBYTE, 1
        ),
    }
    for kind in ('processes', 'files', 'threads'):
        counts = {getattr(sample, kind) for sample in steady}
        assert max(getattr(sample, kind) for sample in late) <= max(
            getattr(sample, kind) for sample in early
        ), f'{kind} grew: {sorted(counts)}'
        shown = f'{min(counts)} to {max(counts)}' if len(counts) > 1 else counts.pop()
        figures[f'{kind if kind != "files" else "open files"} after warm-up'] = shown
    return figures


if __name__ == '__main__':
    record.run(
        'Soak',
        'After its warm-up, a long run with workers, validations and checkpoints does not '
        'accumulate memory, processes, open files or threads.',
        measure,
    )
