"""Config entries that depend on files: the length of a list of images, the last checkpoint."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint


def count_images(cfg: Config, given: Collection[str] = ()) -> None:
    """Set the iterations of a config with ``count_images`` from its list of training images.

    ``num_images`` becomes the number of lines, and ``max_iters`` and ``train_cfg`` follow from
    ``epochs`` and ``total_batch``. If the list does not exist yet, the config is not changed.

    Args:
        cfg: The config, changed in place.
        given: Keys set on the command line; if they include ``train_cfg``, nothing changes.
    """
    if not cfg.get('count_images') or any(key.startswith('train_cfg') for key in given):
        return
    dataset = cfg.train_dataloader.dataset
    path = Path(dataset.data_root, dataset.ann_file)
    if not path.is_file():
        return
    cfg.num_images = sum(
        1 for line in path.read_text(encoding='utf-8').splitlines() if line.strip()
    )
    cfg.max_iters = cfg.epochs * max(cfg.num_images // cfg.total_batch, 1)
    cfg.train_cfg.update(max_iters=cfg.max_iters, val_interval=max(cfg.max_iters // 10, 1))


def find_initial_checkpoint(cfg: Config) -> None:
    """Replace a work dir in ``load_from`` by its last checkpoint.

    A folder without a checkpoint is kept, because testing and resuming do not need it.
    """
    folder = cfg.get('load_from')
    if folder and Path(folder).is_dir():
        cfg.load_from = find_latest_checkpoint(folder) or folder
