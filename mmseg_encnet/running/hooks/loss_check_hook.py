"""Stopping a training whose numbers have become meaningless."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmseg_encnet.errors import UserError


@HOOKS.register_module()
class LossCheckHook(Hook):
    """Ends a training at its first loss that is no finite number, naming the batch.

    The number is the one that the toolbox has fetched from the device for its log, so the check
    costs no synchronisation. That is after the optimiser's step: the weights in memory are lost,
    those on the disk are not. No checkpoint is written with weights that are no finite numbers,
    as a gradient can make them while the loss is still finite.
    """

    # After the RuntimeInfoHook, which fetches the losses; before what logs and saves.
    priority = 'HIGH'

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Check the loss.

        Raises:
            UserError: Naming the iteration and the files of the batch.
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
            f'with the batch {", ".join(_files(data_batch)) or "(of unknown files)"}; look at '
            'these images, lower the learning rate or clip the gradients, and go on from the last '
            'checkpoint with --resume.'
        )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Check the weights about to be saved.

        Raises:
            UserError: Naming the first entry that is no finite number.
        """
        parameters = {name for name, _ in runner.model.named_parameters()}
        for name, value in checkpoint['state_dict'].items():
            if not torch.is_tensor(value) or not value.is_floating_point():
                continue
            # Another buffer may hold infinities on purpose, as masks do.
            finite = name in parameters or name.endswith(('running_mean', 'running_var'))
            fine = torch.isfinite(value) if finite else ~torch.isnan(value)
            if not fine.all():
                raise UserError(
                    f'{name} holds values that are no finite numbers at iteration '
                    f'{runner.iter + 1}, so no checkpoint is written; lower the learning rate or '
                    'clip the gradients, and go on from the last checkpoint with --resume.'
                )


def _files(data_batch: Any) -> list[str]:
    samples = data_batch.get('data_samples') if isinstance(data_batch, Mapping) else None
    return [
        sample.metainfo['img_path']
        for sample in samples or []
        if 'img_path' in getattr(sample, 'metainfo', {})
    ]
