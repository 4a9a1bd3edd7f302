"""Runs of the shrunk config that stopped in the middle, to be continued."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config
from tiny_setup import MSRC21, SHRUNK, draw_photographs
from toolbox_state import clear_toolbox_state

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.configuration.resume_options import parse_overrides
from mmseg_encnet.resuming.options import change_run
from mmseg_encnet.running.processes import run_training

DONE, LENGTH = 2, 3
OPTIONS = {
    **SHRUNK,
    'train_cfg.max_iters': LENGTH,
    'train_cfg.val_interval': 9,
    'default_hooks.checkpoint.interval': 1,
    'default_hooks.checkpoint.max_keep_ckpts': -1,
    'log_level': 'WARNING',
}
EPOCHS = {
    'train_cfg': dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=LENGTH, val_interval=9),
    'train_dataloader.sampler.type': 'DefaultSampler',
    'default_hooks.checkpoint.by_epoch': True,
    'param_scheduler.0.by_epoch': True,
}


class Runs:
    """Finished runs, and copies of them that stopped in the middle.

    Args:
        folder: Folder for runs and data.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / 'data'
        draw_photographs(self.data, 'train', 8)
        draw_photographs(self.data, 'val', 2)
        self.finished: dict[str, Path] = {}

    def config(self, work_dir: Path, options: dict[str, Any]) -> Config:
        own = {key: value for key, value in OPTIONS.items() if key.split('.')[0] not in options}
        options = {**own, 'data_root': str(self.data), **copy.deepcopy(options)}
        return load_config(str(MSRC21), options, str(work_dir))

    def train(
        self,
        work_dir: Path,
        options: dict[str, Any],
        override: str = '',
        extend_to: int | None = None,
        resume: bool = True,
        change: Callable[[Config], Any] = lambda cfg: None,
        launcher: str = 'none',
    ) -> None:
        """Do what ``tools/train.py --resume`` does with these options."""
        overrides = parse_overrides(override.split())
        cfg = self.config(work_dir, {**options, **overrides.entries})
        change(cfg)
        cfg.launcher = launcher
        cfg.resume = resume
        accepted = change_run(cfg, overrides, extend_to, resume)
        clear_toolbox_state()
        run_training(cfg, accepted_changes=accepted)

    def stopped(self, into: Path, options: dict[str, Any] | None = None) -> Path:
        """Return the work dir of a run of four iterations or epochs that stopped after two."""
        options = options or {}
        key = repr(sorted(options.items()))
        name = 'epoch' if 'train_cfg' in options else 'iter'
        if key not in self.finished:
            self.finished[key] = self.folder / f'run_{len(self.finished)}'
            self.train(self.finished[key], options, resume=False)
        shutil.copytree(self.finished[key], into)
        for done in range(DONE + 1, LENGTH + 1):
            (into / f'{name}_{done}.pth').unlink()
        (into / 'last_checkpoint').write_text(str(into / f'{name}_{DONE}.pth'))
        return into
