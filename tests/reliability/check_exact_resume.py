"""Interrupt a run after every iteration, resume it, and compare the results bit for bit."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import record
import torch
from mmengine.runner import CheckpointLoader
from same_to_the_bit import assert_same, without_timings
from tiny_scenes import CONFIG, TINY_SCENES
from toolbox_state import clear_toolbox_state

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.running.processes import run_training

ITERATIONS = 20


def train(work_dir: Path, workers: int, resume: bool) -> None:
    cfg = load_config(
        CONFIG,
        {
            **TINY_SCENES,
            'train_cfg.max_iters': ITERATIONS,
            'train_cfg.val_interval': 5,
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.checkpoint.max_keep_ckpts': -1,
            'default_hooks.logger.interval': 1,
            'train_dataloader.num_workers': workers,
            'train_dataloader.persistent_workers': workers > 0,
            'log_level': 'WARNING',
        },
        str(work_dir),
    )
    cfg.resume = resume
    clear_toolbox_state()
    run_training(cfg)


def end_of(work_dir: Path) -> dict[str, Any]:
    return CheckpointLoader.load_checkpoint(str(work_dir / f'iter_{ITERATIONS}.pth'))


def log_of(work_dir: Path) -> list[dict[str, Any]]:
    return [
        without_timings(json.loads(line))
        for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()
    ]


def measure() -> record.Figures:
    torch.set_num_threads(1)
    interruptions, lines, values = 0, 0, 0
    for workers in (0, 2):
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder, 'whole')
            train(whole, workers, resume=False)
            end, log = end_of(whole), log_of(whole)
            for iteration in range(1, ITERATIONS):
                cut = Path(folder, str(iteration))
                cut.mkdir()
                shutil.copy(whole / f'iter_{iteration}.pth', cut)
                (cut / 'last_checkpoint').write_text(str(cut / f'iter_{iteration}.pth'))
                train(cut, workers, resume=True)
                assert_same(end_of(cut), end, f'interrupted after {iteration}')
                resumed = log_of(cut)
                assert resumed and resumed == log[-len(resumed) :], f'log after {iteration}'
                interruptions += 1
                lines += len(resumed)
                values += sum(value.numel() for value in end['state_dict'].values())
                shutil.rmtree(cut)
    return {
        'runs interrupted and resumed': interruptions,
        'iterations of each; one run is interrupted after each of them': ITERATIONS,
        'data loading workers': '0 and 2',
        'weights and statistics compared, all equal': values,
        'log lines compared, all equal': lines,
    }


if __name__ == '__main__':
    record.run(
        'Exact resume',
        'On the CPU, with the same number of threads, an interrupted and resumed run ends '
        'with the same weights, optimiser, scheduler, random states, histories and log as an '
        'uninterrupted one, bit for bit, whatever the number of workers.',
        measure,
    )
