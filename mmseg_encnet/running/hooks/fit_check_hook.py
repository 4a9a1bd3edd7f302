"""Refuse a model that does not fit its checkpoint or its data, before training or testing."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop
from torch import nn

from mmseg_encnet.checkpoints.fit import check_fits, plain_state_dict
from mmseg_encnet.errors import UserError


class FitCheckHook(Hook):
    """Checks every checkpoint a runner loads, and the class counts of model and data."""

    def before_run(self, runner) -> None:
        """Check that every label of the data has an output in every head.

        Without it a label beyond the last output is a failed assertion on the GPU.

        Raises:
            UserError: Naming the head and the data set.
        """
        model = _segmentor(runner.model)
        loops = (runner._train_loop, runner._val_loop, runner._test_loop)
        for dataset in [loop.dataloader.dataset for loop in loops if isinstance(loop, BaseLoop)]:
            num_labels = len(dataset.metainfo.get('classes') or ())
            for key in ('decode_head', 'auxiliary_head'):
                part = getattr(model, key, None)
                for head in part if isinstance(part, nn.ModuleList) else [part]:
                    num_classes = getattr(head, 'num_classes', num_labels)
                    if num_classes < num_labels:
                        raise UserError(
                            f'model.{key}.num_classes={num_classes} came, {type(dataset).__name__} '
                            f'has {num_labels} classes; set num_classes of every head to that.'
                        )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        # Runner.train builds its loop before it loads; a test leaves it a config.
        training = isinstance(runner._train_loop, BaseLoop)
        check_fits(_segmentor(runner.model), plain_state_dict(checkpoint), whole=not training)


def _segmentor(model: nn.Module) -> nn.Module:
    """The segmentor inside the wrappers of a distributed run and of test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
