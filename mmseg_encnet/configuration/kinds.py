"""The kinds of changes between a run and its continuation, by the names of ``--override``."""

from __future__ import annotations

import re
from typing import NamedTuple

LENGTH = 'length'
EXTEND = '--extend-to'
OVERRIDE = '--override'
# Arguments of schedulers that hold the length of training, or that less their begin.
ENDS = ('end', 'T_max', 'total_steps')


class Kind(NamedTuple):
    """One kind of change.

    Attributes:
        settings: Pattern of the settings of a run record that belong to it, None if none does.
        entry: Entry of the config that ``--override NAME=VALUE`` sets, or None.
        inside: Whether the entry is a dictionary or list, set by ``NAME.KEY=VALUE``.
    """

    settings: str | None
    entry: str | None = None
    inside: bool = False


# A setting belongs to the first kind whose pattern matches its start.
KINDS = {
    'lr': Kind(
        r'optim_wrapper\.(\w+\.)?optimizer\.lr$|auto_scale_lr', 'optim_wrapper.optimizer.lr'
    ),
    'momentum': Kind(
        r'optim_wrapper\.(\w+\.)?optimizer\.momentum$', 'optim_wrapper.optimizer.momentum'
    ),
    'weight_decay': Kind(
        r'optim_wrapper\.(\w+\.)?optimizer\.weight_decay$', 'optim_wrapper.optimizer.weight_decay'
    ),
    'optimizer': Kind(
        r'optim_wrapper\.((\w+\.)?optimizer\b|constructor)', 'optim_wrapper.optimizer', True
    ),
    'paramwise': Kind(r'optim_wrapper\.(\w+\.)?paramwise_cfg', 'optim_wrapper.paramwise_cfg', True),
    'clip_grad': Kind(r'optim_wrapper\.(\w+\.)?clip_grad', 'optim_wrapper.clip_grad', True),
    'accumulation': Kind(
        r'optim_wrapper\.(\w+\.)?accumulative_counts', 'optim_wrapper.accumulative_counts'
    ),
    'precision': Kind(r'optim_wrapper', 'optim_wrapper', True),
    'schedule': Kind(r'param_scheduler', 'param_scheduler', True),
    'loop': Kind(None, 'train_cfg.type'),
    'batch_size': Kind(None, 'train_dataloader.batch_size'),
    'processes': Kind(None),
    'sampler': Kind(r'train_dataloader', 'train_dataloader.sampler', True),
    'crop': Kind(
        r'pipeline\..*\bcrop_size', 'train_dataloader.dataset.pipeline.RandomCrop.crop_size'
    ),
    'pipeline': Kind(r'pipeline', 'train_dataloader.dataset.pipeline', True),
    'classes': Kind(r'classes', 'train_dataloader.dataset', True),
    'data': Kind(r'dataset', 'train_dataloader.dataset', True),
    'model': Kind(r'model', 'model', True),
    'seed': Kind(r'randomness', 'randomness.seed'),
    'ema': Kind(r'custom_hooks'),
}


def kind_of(setting: str) -> str:
    """Return the name of the kind that a setting belongs to."""
    return next(
        name for name, kind in KINDS.items() if kind.settings and re.match(kind.settings, setting)
    )
