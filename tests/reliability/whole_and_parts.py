"""Train and measure in one process with the whole batch, and in several with parts of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import init_default_scope
from mmseg.registry import METRICS, MODELS
from PIL import Image
from process_group import in_process_group
from tiny_setup import SHRUNK

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.running.processes import run_test
from mmseg_encnet.running.runner import EncNetRunner

SIDE = 48
ITERATIONS = 10
BATCH = 4
# Number of ignored rows in each image: none, some or all.
IGNORED_ROWS = (0, 24, 48, 36, 4, 47, 48, 12, 2, 40)
# Config, and changes to the options of the shrunk EncNet.
NETWORKS = {
    'EncNet': ('encnet_r18_msrc21', {}),
    'FCN': ('fcn_r18_msrc21', {'model.decode_head.in_channels': 64}),
    'PSPNet': ('pspnet_r18_msrc21', {'model.decode_head.in_channels': 64}),
    'DeepLabV3': ('deeplabv3_r18_msrc21', {'model.decode_head.in_channels': 64}),
}
# Crop and flip of a sample do not depend on the process. Nothing else is random, and no norm
# depends on the other images in a process.
OPTIONS = {
    **SHRUNK,
    **{
        f'model.{part}.norm_cfg': dict(_delete_=True, type='GN', num_groups=4)
        for part in ('backbone', 'decode_head', 'auxiliary_head')
    },
    'model.decode_head.dropout_ratio': 0,
    'model.auxiliary_head.dropout_ratio': 0,
    'train_cfg.max_iters': ITERATIONS,
    # No validation, no checkpoint.
    'train_cfg.val_interval': 2 * ITERATIONS,
    'default_hooks.checkpoint.interval': 2 * ITERATIONS,
    'default_hooks.checkpoint.save_last': False,
    'randomness.seed': 0,
    'log_level': 'ERROR',
}
AVERAGE_OF_AVERAGES = {
    f'model.{part}.loss_decode': dict(
        _delete_=True, type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=weight
    )
    for part, weight in (('decode_head', 1.0), ('auxiliary_head', 0.2))
}


class Training(NamedTuple):
    """Results of a run in float64 in one process.

    Attributes:
        losses: Logged values by name, one per iteration.
        weights: The state dict.
    """

    losses: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]


class Difference(NamedTuple):
    """The largest absolute differences between two runs."""

    losses: float
    weights: float


def draw_images(root: Path) -> Path:
    """Write a data set in the layout of MSRC-21 with unevenly distributed labelled pixels."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for kind in ('images', 'labels'):
            (root / kind / split).mkdir(parents=True)
        for index, ignored in enumerate(IGNORED_ROWS):
            label = np.full((SIDE, SIDE), rng.integers(21), np.uint8)
            label[:, SIDE // 2 :] = rng.integers(21)
            image = 11.0 * label[..., None] + rng.normal(0, 8, (SIDE, SIDE, 3))
            label[:ignored] = 255
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(
                root / 'images' / split / f'{index}.jpg'
            )
            Image.fromarray(label).save(root / 'labels' / split / f'{index}.png')
    return root


def train(
    network: str, data: Path, work_dir: Path, world_size: int, options: dict | None = None
) -> list[Training]:
    """Train a network for ten iterations in several processes; return the result of each."""
    config, own = NETWORKS[network]
    options = {
        **OPTIONS,
        **own,
        **(options or {}),
        'data_root': str(data),
        'train_dataloader.batch_size': BATCH // world_size,
    }
    if network != 'EncNet':
        options.pop('model.decode_head.num_codes')
    return in_process_group(world_size, _train, config, options, str(work_dir))


def largest_difference(one: Training, other: Training) -> Difference:
    """Compare two runs of the same network."""
    for first, second in zip(one, other):
        assert first.keys() == second.keys()
    return Difference(
        *(
            max(float(np.abs(first[key] - second[key]).max()) for key in first)
            for first, second in zip(one, other)
        )
    )


def evaluate(work_dir: Path, world_size: int, num_images: int) -> list[dict[str, Any]]:
    """Return the metrics of a network with random weights on context scenes, for each process.

    In addition to the metrics of the config, ``images`` holds the numbers of the images in the
    order in which the metrics processed them.
    """
    work_dir.mkdir(parents=True)
    return in_process_group(world_size, _evaluate, work_dir, num_images)


def _train(config: str, options: dict, work_dir: str) -> Training:
    torch.set_default_dtype(torch.float64)
    cfg = load_config(config, options, work_dir, _launcher())
    runner = EncNetRunner.from_cfg(cfg)
    runner.train()
    losses = {
        key: np.asarray(buffer.data[0])
        for key, buffer in runner.message_hub.log_scalars.items()
        if key.startswith('train/') and 'loss' in key
    }
    model = getattr(runner.model, 'module', runner.model)
    weights = {key: value.double().numpy() for key, value in model.state_dict().items()}
    return Training(losses, weights)


class _Order(BaseMetric):
    """Records the images that were evaluated."""

    default_prefix = 'order'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        self.results += [int(Path(sample['img_path']).stem) for sample in data_samples]

    def compute_metrics(self, results: list[int]) -> dict[str, list[int]]:
        return dict(images=results)


def _evaluate(work_dir: Path, num_images: int) -> dict[str, Any]:
    METRICS.register_module(name='Order', module=_Order, force=True)
    cfg = load_config(
        'encnet_r18_context-scenes',
        {
            'test_dataloader.dataset.num_scenes': num_images,
            'test_dataloader.batch_size': 2,
            'test_dataloader.num_workers': 0,
            'test_dataloader.persistent_workers': False,
            'log_level': 'ERROR',
        },
        str(work_dir / 'log'),
        _launcher(),
    )
    cfg.test_evaluator.append(dict(type='Order'))
    init_default_scope('mmseg')
    torch.manual_seed(0)
    weights = work_dir / f'weights_{_rank()}.pth'
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), weights)
    return run_test(cfg, str(weights))


def _launcher() -> str:
    return 'pytorch' if torch.distributed.is_initialized() else 'none'


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
