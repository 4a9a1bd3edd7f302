"""Refuse a model that does not match its checkpoint or its data, before training or testing."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from mmseg_encnet.checkpoints.content import check_training_state
from mmseg_encnet.checkpoints.fit import check_fits, leave_out_classifiers, plain_state_dict
from mmseg_encnet.errors import UserError
from mmseg_encnet.models.parts import heads_of, unwrapped

# Entry of the config.
STRICT = 'load_from_strict'


class FitCheckHook(Hook):
    """Checks every checkpoint that a runner loads, and the numbers of classes of model and data.

    Training that starts from a checkpoint for another number of classes keeps all of its weights
    except the classifiers, unless the config has ``load_from_strict=True``. Then the checkpoint
    must have all weights of the model (auxiliary heads may be missing), as for a test.
    """

    def before_run(self, runner) -> None:
        """Check that every head has an output for every class of the data.

        Otherwise a label above the last output causes a failed assertion on the GPU.

        Raises:
            UserError: A head has too few outputs.
        """
        model = unwrapped(runner.model)
        loops = (runner._train_loop, runner._val_loop, runner._test_loop)
        for dataset in [loop.dataloader.dataset for loop in loops if isinstance(loop, BaseLoop)]:
            num_labels = len(dataset.metainfo.get('classes') or ())
            for entry, head in heads_of(model):
                num_classes = getattr(head, 'num_classes', num_labels)
                if num_classes < num_labels:
                    raise UserError(
                        f'got model.{entry}.num_classes={num_classes}, but '
                        f'{type(dataset).__name__} has {num_labels} classes; set num_classes of '
                        f'every head to {num_labels}.'
                    )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        plain_state_dict(checkpoint)
        # Runner.train builds its loop before it loads; in a test it is still a config.
        training = isinstance(runner._train_loop, BaseLoop)
        strict = runner.cfg.get(STRICT, False)
        model = unwrapped(runner.model)
        if training and not runner._resume and not strict and isinstance(checkpoint, dict):
            left_out = leave_out_classifiers(model, checkpoint)
            if left_out:
                runner.logger.info(
                    f'{runner._load_from} is for another number of classes: all weights are kept '
                    f'except {", ".join(left_out)}, which keep their initialisation; set '
                    f'{STRICT}=True to refuse such a checkpoint.'
                )
            else:
                _warn_of_other_classes(runner, checkpoint)
        check_fits(model, plain_state_dict(checkpoint), whole=not training or strict)
        if runner._resume:
            check_training_state(checkpoint)


def _warn_of_other_classes(runner: Runner, checkpoint: dict) -> None:
    """Warn if a checkpoint was trained for as many classes with other names."""
    trained: Any = checkpoint
    for key in ('meta', 'dataset_meta', 'classes'):
        trained = trained.get(key) if isinstance(trained, dict) else None
    names = runner.train_loop.dataloader.dataset.metainfo.get('classes')
    if not isinstance(trained, (list, tuple)) or not names:
        return
    differing = [index for index, pair in enumerate(zip(trained, names)) if pair[0] != pair[1]]
    if len(trained) == len(names) and differing:
        index = differing[0]
        runner.logger.warning(
            f'{runner._load_from} has as many classes as the data with other names (class {index} '
            f'is {trained[index]!r}, in the data {names[index]!r}): its classifiers are kept and '
            'trained on.'
        )
