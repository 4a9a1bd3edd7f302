"""The embedded data set, and an EncNet that trains a hundred iterations on it in seconds."""

from __future__ import annotations

CONFIG = 'encnet_r18_context-scenes'
TINY_SCENES = {
    'model.backbone.stem_channels': 8,
    'model.backbone.base_channels': 4,
    'model.decode_head.in_channels': [4, 8],
    'model.decode_head.channels': 8,
    'model.decode_head.num_codes': 4,
    'model.auxiliary_head.in_channels': 4,
    'model.auxiliary_head.channels': 4,
    'train_dataloader.batch_size': 2,
    'train_dataloader.dataset.num_scenes': 40,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'val_dataloader.batch_size': 2,
    'val_dataloader.dataset.num_scenes': 4,
    'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False,
    'param_scheduler.0.end': 2,
}
