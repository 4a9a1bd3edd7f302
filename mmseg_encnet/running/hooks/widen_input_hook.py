"""Start networks for any number of channels from weights for three."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop

from mmseg_encnet.checkpoints.widening import MODES, widen_on_load, widen_state_dict
from mmseg_encnet.errors import UserError
from mmseg_encnet.models.parts import unwrapped


@HOOKS.register_module()
class WidenInputHook(Hook):
    """Widens the first convolution of pretrained weights to the channels of the images.

    It works for every backbone and for every way of loading: ``init_cfg`` with
    ``type='Pretrained'``, the backbones' own loaders, and ``load_from``. Weights that have the
    right number of channels are loaded as they are, so training resumes as usual.
    :func:`mmseg_encnet.checkpoints.widening.widen` states the formula.

    Args:
        mode: ``'mean'``, ``'repeat'`` or ``'zero'``, what the channels other than red, green and
            blue start from.
        rgb_channels: Positions of red, green and blue in the images as they are loaded, such as
            ``(2, 1, 0)`` for blue, green, red, near infrared. Default: the first three.

    Raises:
        UserError: An argument is out of range, or when training begins, the backbone has three
            input channels, or no weights were widened.
    """

    # Before the check that a checkpoint fits.
    priority = 'VERY_HIGH'

    def __init__(self, mode: str = 'mean', rgb_channels: Sequence[int] | None = None) -> None:
        if mode not in MODES:
            raise UserError(f'unknown mode {mode!r} of WidenInputHook; choose one of {MODES}.')
        self.mode = mode
        self.rgb_channels = rgb_channels
        self._widened: list[str] = []
        self._handles: list[Any] = []
        self._loaded_widened = False

    def before_run(self, runner) -> None:
        # A test loads what a training wrote.
        if isinstance(runner._train_loop, BaseLoop) and not runner._resume:
            self._handles = widen_on_load(
                unwrapped(runner.model), self.mode, self.rgb_channels, self._widened
            )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if self._handles and isinstance(checkpoint, dict):
            weights = checkpoint.get('state_dict', checkpoint)
            names = widen_state_dict(unwrapped(runner.model), weights, self.mode, self.rgb_channels)
            self._widened += [name.removesuffix('.weight') for name in names]
            # It may come from an earlier training with this hook.
            self._loaded_widened = not names

    def before_train(self, runner) -> None:
        """Report which convolutions were widened.

        Raises:
            UserError: None was.
        """
        if not self._handles:
            return
        for handle in self._handles:
            handle.remove()
        self._handles = []
        names = list(dict.fromkeys(self._widened))
        if not names and not self._loaded_widened:
            raise UserError(
                'WidenInputHook found no weights of three channels to widen; set init_cfg of the '
                'backbone or load_from to pretrained weights, or remove the hook.'
            )
        model = unwrapped(runner.model)
        if names:
            runner.logger.info(
                f'{", ".join(names)} was widened from three channels (mode={self.mode!r}).'
            )
        frozen = [name for name in names if not model.get_submodule(name).weight.requires_grad]
        if frozen:
            runner.logger.warning(
                f'{frozen[0]} was widened but is frozen, so it will not adapt to the new channels; '
                'reduce frozen_stages of the backbone to train it.'
            )
