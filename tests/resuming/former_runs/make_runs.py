"""Make interrupted runs with the version that is installed.

Run it in an empty folder, with ``tests/`` on the path; see README.md.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import torch
from mmengine.hooks import Hook
from process_group import in_process_group
from toolbox_state import clear_toolbox_state

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.running.runner import EncNetRunner

CONFIG = 'encnet_r18_context-scenes'
TINY = {
    'model.backbone.stem_channels': 4,
    'model.backbone.base_channels': 2,
    'model.decode_head.in_channels': [2, 4],
    'model.decode_head.channels': 4,
    'model.decode_head.num_codes': 2,
    'model.auxiliary_head.in_channels': 2,
    'model.auxiliary_head.channels': 2,
    'train_dataloader.batch_size': 2,
    'train_dataloader.dataset.num_scenes': 8,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'val_dataloader.batch_size': 2,
    'val_dataloader.dataset.num_scenes': 2,
    'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False,
    'test_dataloader.batch_size': 2,
    'test_dataloader.dataset.num_scenes': 2,
    'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False,
    'param_scheduler.0.end': 2,
    'randomness.seed': 3,
    'default_hooks.logger.interval': 1,
    'default_hooks.checkpoint.save_best': None,
    'default_hooks.checkpoint.max_keep_ckpts': 1,
    'log_level': 'WARNING',
}
# Work dir: number of processes, options, and the iteration at which the run is interrupted.
RUNS = {
    'by_iteration': (
        1,
        {
            'train_cfg.max_iters': 4,
            'train_cfg.val_interval': 2,
            'default_hooks.checkpoint.interval': 1,
        },
        2,
    ),
    'by_epoch_in_two_processes': (
        2,
        {
            'train_cfg._delete_': True,
            'train_cfg.type': 'EpochBasedTrainLoop',
            'train_cfg.max_epochs': 2,
            'train_dataloader.sampler.type': 'DefaultSampler',
            'default_hooks.checkpoint.by_epoch': True,
            'default_hooks.checkpoint.interval': 1,
            'optim_wrapper.optimizer': dict(
                _delete_=True, type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4
            ),
        },
        2,
    ),
}


class _InterruptedError(Exception):
    pass


class Interrupt(Hook):
    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.iteration:
            raise _InterruptedError


def train(work_dir: str, options: dict, iteration: int | None) -> list[float]:
    """Train until an iteration and return the losses so far."""
    torch.set_num_threads(1)
    clear_toolbox_state()
    launcher = 'pytorch' if torch.distributed.is_initialized() else 'none'
    runner = EncNetRunner.from_cfg(load_config(CONFIG, {**TINY, **options}, work_dir, launcher))
    if iteration is not None:
        runner.register_hook(Interrupt(iteration))
    with contextlib.suppress(_InterruptedError):
        runner.train()
    return runner.message_hub.log_scalars['train/loss'].data[0].tolist()


def main() -> None:
    losses = {}
    for name, (processes, options, iteration) in RUNS.items():
        losses[name] = in_process_group(processes, train, f'whole/{name}', options, None)[0]
        in_process_group(processes, train, name, options, iteration)
        for path in Path(name).glob('*/**/*'):
            if path.is_file() and path.name != 'scalars.json':
                path.unlink()
    shutil.rmtree('whole')
    Path('losses.json').write_text(json.dumps(losses, indent=2) + '\n')


if __name__ == '__main__':
    main()
