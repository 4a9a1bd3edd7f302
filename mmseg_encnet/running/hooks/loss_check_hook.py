"""Stop training when the loss or the weights are no longer finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmseg_encnet.checkpoints.fit import nonfinite_entries
from mmseg_encnet.errors import UserError


@HOOKS.register_module()
class LossCheckHook(Hook):
    """Stops training at the first non-finite loss and lists the files of the batch.

    It checks the value that the toolbox has copied from the device for its log, which needs no
    extra synchronisation. By then the optimiser has made its step, so the weights in memory are
    lost, but not those on disk. Non-finite weights, which a gradient can cause while the loss is
    still finite, are never written to a checkpoint.
    """

    # After the RuntimeInfoHook, which copies the losses; before the hooks that log and save.
    priority = 'HIGH'

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Check the loss.

        Raises:
            UserError: The loss is not finite.
        """
        if not outputs or 'loss' not in outputs:
            return
        loss = runner.message_hub.get_scalar('train/loss').current()
        if math.isfinite(loss):
            return
        parts = [
            key
            for key in outputs
            if 'loss' in key
            and key != 'loss'
            and not math.isfinite(runner.message_hub.get_scalar(f'train/{key}').current())
        ]
        raise UserError(
            f'the loss became {loss} at iteration {runner.iter + 1} ({", ".join(parts) or "loss"}) '
            f'with the batch {", ".join(_files(data_batch)) or "(of unknown files)"}; check these '
            f'images, or {_remedy(runner)}.'
        )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Check the weights before they are saved.

        Raises:
            UserError: An entry is not finite.
        """
        model = getattr(runner.model, 'module', runner.model)
        nonfinite = nonfinite_entries(checkpoint['state_dict'], dict(model.named_buffers()))
        if nonfinite:
            raise UserError(
                f'{nonfinite[0]} contains NaN or infinite values at iteration {runner.iter + 1}, '
                f'so no checkpoint is written; {_remedy(runner)}.'
            )


def _remedy(runner) -> str:
    optimizer = (runner.cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    rate = optimizer.get('lr')
    lower = f'{rate / 10:g}' if isinstance(rate, (int, float)) else 'VALUE'
    return (
        f'continue from the last checkpoint with a lower learning rate (--resume --override '
        f'lr={lower}) or with clipped gradients (--resume --override clip_grad.max_norm=1)'
    )


def _files(data_batch: Any) -> list[str]:
    samples = data_batch.get('data_samples') if isinstance(data_batch, Mapping) else None
    return [
        sample.metainfo['img_path']
        for sample in samples or []
        if 'img_path' in getattr(sample, 'metainfo', {})
    ]
