"""Root of the project, and options that shrink its smallest config on photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
MSRC21 = ROOT / 'configs' / 'encnet_r18_msrc21.py'
# encnet_r18_msrc21.py at an eighth of its widths, on the images of `tiny_data`.
SHRUNK = {
    'model.backbone.base_channels': 8,
    'model.backbone.stem_channels': 16,
    'model.data_preprocessor.size': (48, 48),
    'model.decode_head.in_channels': [16, 32, 64],
    'model.decode_head.channels': 16,
    'model.decode_head.num_codes': 4,
    'model.auxiliary_head.in_channels': 32,
    'train_dataloader.dataset.pipeline.RandomResize.scale': (64, 64),
    'train_dataloader.dataset.pipeline.Pad.size': (48, 48),
    'train_dataloader.dataset.pipeline.RandomCrop.crop_size': (48, 48),
    'val_dataloader.dataset.pipeline.Resize.scale': (64, 64),
    'test_dataloader.dataset.pipeline.Resize.scale': (64, 64),
    # Serialising collects the whole process's garbage first.
    'train_dataloader.dataset.serialize_data': False,
    'val_dataloader.dataset.serialize_data': False,
    'test_dataloader.dataset.serialize_data': False,
    'train_dataloader.batch_size': 2,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False,
    'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False,
    'train_cfg.max_iters': 2,
    'train_cfg.val_interval': 2,
    'default_hooks.checkpoint.interval': 2,
    'default_hooks.logger.interval': 1,
}


def option_strings(options: dict) -> list[str]:
    """Return config options in the form of ``--cfg-options``."""
    return [f'{key}={value}'.replace(' ', '') for key, value in options.items()]


def draw_photographs(root: Path, split: str, count: int, num_classes: int = 21) -> None:
    """Draw images of two rectangles in class colours, with labels, in the layout of MSRC-21."""
    rng = np.random.default_rng(count)
    palette = rng.integers(0, 256, (num_classes, 3))
    for kind in ('images', 'labels'):
        (root / kind / split).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        height, width = (56, 72) if index % 2 else (72, 56)
        label = np.full((height, width), rng.integers(num_classes), np.uint8)
        label[height // 3 :, width // 3 :] = rng.integers(num_classes)
        image = palette[label] + rng.normal(0, 8, (height, width, 3))
        label[:4] = 255
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(
            root / 'images' / split / f'{index}.jpg'
        )
        Image.fromarray(label).save(root / 'labels' / split / f'{index}.png')
