"""Losses of three runs of 20 iterations in double precision.

``python tests/reliability/golden_losses.py`` writes them to ``golden/losses.json``; do so only with
a change that is meant to change the arithmetic, and say so in the commit message.

Other differences between machines and versions are excluded: weights are drawn with numpy, images
are PNG and are not scaled, there is no dropout, and one thread does all sums.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from PIL import Image
from tiny_scenes import CONFIG, TINY_SCENES
from tiny_setup import SHRUNK

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.running.runner import EncNetRunner

GOLDEN = Path(__file__).with_name('golden') / 'losses.json'
ITERATIONS = 20

_CROPS = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomCrop', crop_size=(48, 48)),
    dict(type='PackSegInputs'),
]
# In deeper networks or with smaller batches, batch norm multiplies rounding errors by ten in every
# iteration.
_TINY_JPU = {
    'model.backbone.depth': 18,
    'model.backbone.base_channels': 4,
    'model.backbone.stem_channels': 8,
    'model.neck.in_channels': (8, 16, 32),
    'model.neck.mid_channels': 8,
    'model.decode_head.in_channels': [8, 16, 32],
    'model.decode_head.channels': 16,
    'model.decode_head.num_codes': 4,
    'model.decode_head.num_classes': 21,
    'model.decode_head.use_se_loss': False,
    'model.auxiliary_head.in_channels': 16,
    'model.auxiliary_head.num_classes': 21,
    'model.data_preprocessor.size': (48, 48),
    'train_dataloader.batch_size': 6,
}
# Config, options, and whether it reads the photographs of `_draw`.
CASES: dict[str, tuple[str, dict[str, Any], bool]] = {
    'encnet_r18_msrc21, lateral': (
        'encnet_r18_msrc21',
        {**SHRUNK, 'model.decode_head.add_lateral': True},
        True,
    ),
    'encnet_r50_jpu_pcontext, no SE loss': ('encnet_r50_jpu_pcontext', _TINY_JPU, True),
    'encnet_r18_context-scenes': (CONFIG, TINY_SCENES, False),
}


def train(name: str, folder: Path) -> dict[str, list[float]]:
    """Return losses and learning rates of one of :data:`CASES`, by iteration."""
    torch.set_num_threads(1)
    cfg = _load(name, folder)
    runner = EncNetRunner.from_cfg(cfg)
    hook = _GoldenHook()
    runner.register_hook(hook)
    runner.train()
    return hook.values


def _load(name: str, folder: Path) -> Config:
    config, options, photographs = CASES[name]
    cfg = load_config(config, options, str(folder / 'work'))
    cfg.model.backbone.init_cfg = None
    for head in ('decode_head', 'auxiliary_head'):
        cfg.model[head].dropout_ratio = 0.0
    loader = cfg.train_dataloader
    loader.num_workers, loader.persistent_workers = 0, False
    if photographs:
        _draw(folder / 'data')
        loader.dataset = dict(
            type='MSRC21Dataset',
            data_root=str(folder / 'data'),
            img_suffix='.png',
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            pipeline=_CROPS,
        )
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=ITERATIONS)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    cfg.default_hooks.checkpoint = None
    cfg.randomness = dict(seed=0)
    cfg.log_level = 'ERROR'
    # A visualizer with an existing name would keep the folder of the first one.
    cfg.visualizer.name = cfg.experiment_name = name
    return cfg


def _draw(folder: Path) -> None:
    """Write six images of noisy blocks of colour, labelled by block, with some ignored pixels."""
    rng = np.random.RandomState(0)
    for kind in ('images', 'labels'):
        (folder / kind).mkdir(parents=True)
    palette = rng.randint(0, 200, (21, 3))
    for index in range(6):
        label = np.kron(rng.randint(0, 21, (4, 4)), np.ones((16, 16), int))
        image = palette[label] + rng.randint(0, 56, (64, 64, 3))
        label[rng.rand(64, 64) < 0.1 * index] = 255
        Image.fromarray(image.astype(np.uint8)).save(folder / 'images' / f'{index}.png')
        Image.fromarray(label.astype(np.uint8)).save(folder / 'labels' / f'{index}.png')


class _GoldenHook(Hook):
    """Initialises the network with numpy in double precision, and records its losses."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def before_train(self, runner) -> None:
        model = runner.model.double()
        rng = np.random.RandomState(0)
        for name, parameter in model.named_parameters():
            shape = tuple(parameter.shape)
            if name.endswith('.scale'):
                value = rng.uniform(-1, 0, shape)
            elif len(shape) > 1:
                value = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
            else:
                value = np.full(shape, 0.0 if name.endswith('bias') else 1.0)
            parameter.data.copy_(torch.from_numpy(value))
        model.data_preprocessor.register_forward_hook(
            lambda _, __, batch: dict(batch, inputs=batch['inputs'].double())
        )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        values = {key: float(value) for key, value in outputs.items() if 'loss' in key}
        values['lr'] = runner.optim_wrapper.get_lr()['lr'][0]
        for key, value in values.items():
            self.values.setdefault(key, []).append(value)


def main() -> None:
    golden = {}
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            golden[name] = train(name, Path(folder))
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(golden, indent=1) + '\n')


if __name__ == '__main__':
    main()
