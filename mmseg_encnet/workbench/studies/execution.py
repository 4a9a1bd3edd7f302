"""One training run of a study in its own process, started with ``python -m`` this module.

A crash or a kill thus affects this run only, and the next attempt continues from its last
checkpoint.
"""

from __future__ import annotations

import ast
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mmengine.hooks import Hook

from mmseg_encnet.evaluation.metrics.presence_metric import PresenceMetric
from mmseg_encnet.models.segmentors.heads import has_se_branch, labelling_head, presence_head
from mmseg_encnet.program import exit_with_one_sentence
from mmseg_encnet.running.processes import training_process
from mmseg_encnet.running.runner import EncNetRunner
from mmseg_encnet.workbench.formatting import read_json_lines, strict_json
from mmseg_encnet.workbench.machine import describe_machine, peak_process_bytes
from mmseg_encnet.workbench.studies.definition import Run, Variant
from mmseg_encnet.workbench.studies.image_areas import ImageAreas, mean_iou
from mmseg_encnet.workbench.studies.receptive_field import receptive_field
from mmseg_encnet.workbench.studies.results import (
    GIVEN_PRESENCE,
    ResultFolder,
    RunResult,
    sparse_areas,
)

PROGRESS = 'progress'
HISTORY = 'history.jsonl'


class _RecordHook(Hook):
    """Records loss, metric and time on disk, where they survive a kill, and the peak memory."""

    def __init__(self, work_dir: Path, metric: str, interval: int, device: torch.device) -> None:
        self.work_dir = work_dir
        self.metric = metric
        self.interval = interval
        self.device = device
        self.peak = 0
        self._start = 0.0

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self._start = _seconds()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        seconds, iteration = _seconds() - self._start, runner.iter + 1
        # The toolbox's log resets the peak of a GPU.
        self.peak = max(self.peak, peak_process_bytes(self.device))
        (self.work_dir / PROGRESS).write_text(str(iteration), encoding='utf-8')
        if iteration % self.interval == 0:
            self._write(iteration=iteration, seconds=seconds, loss=float(outputs['loss']))

    def after_val_epoch(self, runner, metrics=None) -> None:
        self._write(iteration=runner.iter, metric=float(metrics[self.metric]))

    def _write(self, **entry: float) -> None:
        with (self.work_dir / HISTORY).open('a', encoding='utf-8') as file:
            file.write(strict_json(entry) + '\n')


def _seconds() -> float:
    # On the CPU, processor time excludes other work on the machine.
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def _history(work_dir: Path, key: str) -> list[tuple[int, float]]:
    """Return pairs of iteration and value; a repeated iteration replaces the earlier one."""
    entries = [entry for entry in read_json_lines(work_dir / HISTORY) if entry and key in entry]
    return sorted({entry['iteration']: entry[key] for entry in entries}.items())


def execute(run: Run, metric: str, work_dir: Path, options: dict[str, Any]) -> RunResult:
    """Train and evaluate a run, continuing from the checkpoint of an earlier attempt."""
    cfg = run.load(work_dir, options)
    cfg.resume = True
    cfg.log_level = 'WARNING'
    cfg.default_hooks.checkpoint.update(
        interval=cfg.train_cfg.val_interval, max_keep_ckpts=1, save_best=None
    )
    cfg.visualizer.name = run.name
    work_dir.mkdir(parents=True, exist_ok=True)

    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    record = _RecordHook(work_dir, metric, max(cfg.train_cfg.max_iters // 50, 1), device)
    with training_process(cfg):
        runner = EncNetRunner.from_cfg(cfg)
        runner.register_hook(record)
        runner.train()
    evaluator, added = runner.test_evaluator, [ImageAreas(), ImageAreas(given_presence=True)]
    predicts_presence = has_se_branch(labelling_head(runner.model)) or presence_head(runner.model)
    # A second one would be refused.
    if predicts_presence and not any(isinstance(m, PresenceMetric) for m in evaluator.metrics):
        added.append(PresenceMetric())
    for extra in added:
        extra.dataset_meta = evaluator.dataset_meta
    evaluator.metrics += added
    # The metrics of the config may not need the scores.
    runner.model.test_cfg['keep_seg_logits'] = True
    metrics = runner.test()
    image_areas = metrics.pop('image_areas')
    metrics[GIVEN_PRESENCE] = mean_iou(metrics.pop('image_areas_given_presence').sum(axis=0))
    machine = describe_machine(device)
    return RunResult(
        digest=run.digest(),
        metrics={
            key: float(value) for key, value in metrics.items() if key not in ('time', 'data_time')
        },
        validation=_history(work_dir, 'metric'),
        loss=_history(work_dir, 'loss'),
        areas=sparse_areas(image_areas),
        num_classes=image_areas.shape[2],
        parameters=sum(p.numel() for p in runner.model.parameters()),
        receptive_field=receptive_field(runner.model.backbone),
        seconds_per_iteration=median(value for _, value in _history(work_dir, 'seconds')),
        peak_memory=record.peak or peak_process_bytes(device),
        machine=f'{machine["gpu"] or machine["processor"]}, {machine["threads"]} threads, '
        f'torch {machine["torch"]}',
    )


def _exit_with_parent() -> None:
    """Exit when the parent process does, which closes its end of the pipe."""
    sys.stdin.read()
    os._exit(1)


@exit_with_one_sentence
def main() -> None:
    order = ast.literal_eval(sys.stdin.readline())
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    run = Run(Variant(**order['variant']), order['seed'])
    work_dir = Path(order['work_dir'])
    result = execute(run, order['metric'], work_dir, order['options'])
    ResultFolder(Path(order['results'])).write(run, result)
    # Checkpoints of all runs would fill the disk.
    shutil.rmtree(work_dir)


if __name__ == '__main__':
    main()
