"""Measure the losses of training on the validation images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner.amp import autocast

from mmseg_encnet.models.parts import evaluating, unwrapped
from mmseg_encnet.running.validation_losses import Term, losses_of_images

_TOTAL = 'loss'


@HOOKS.register_module()
class ValLossHook(Hook):
    """Adds the losses of training to the metrics of each validation.

    They have the names of training: ``loss`` is the sum of all, ``decode.loss_ce``,
    ``decode.loss_se``, ``aux.loss_ce`` and the like are its parts. The log has them as
    ``val/loss`` and so on; ``save_best='loss'``, early stopping and schedulers can monitor them.

    Each is the loss of the whole validation set as one batch: cross-entropies are averaged over
    labelled pixels (with class weights over their weights, and as configured over all pixels), SE
    losses and all others over the images with labels. The result does not depend on the batch size
    or, up to rounding, on the number of processes, and images that a sampler repeats count once.

    Model, statistics of norms and random states do not change, so training is the same bit for bit
    as without the hook. Each image passes the network once more, alone. With
    ``test_cfg.mode='slide'`` it does so in windows of at most ``crop_size`` without overlap.

    Losses of other packages that communicate between processes average over the images that these
    process at the same time.
    """

    # Before the hooks that read metrics.
    priority = 'HIGHEST'

    def before_val_epoch(self, runner) -> None:
        self._sums: dict[str, tuple[float, float]] = {}
        self._done = 0

    def after_val_iter(
        self, runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        length = len(runner.val_loop.dataloader.dataset)
        for windows in self._losses(runner, data_batch, self._done):
            # Samplers deal images to the processes in turn, and repeat some at the end.
            position = self._done * get_world_size() + get_rank()
            self._done += 1
            if position < length:
                for terms in windows:
                    self._add(terms)

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        totals: dict[str, list[tuple[float, float]]] = {}
        for sums in all_gather_object(self._sums):
            for name, term in sums.items():
                totals.setdefault(name, []).append(term)
        means = {}
        for name, terms in totals.items():
            weight = sum(weight for _, weight in terms)
            means[name] = sum(total for total, _ in terms) / weight if weight else 0.0
        if metrics is not None and means:
            metrics.update({**means, _TOTAL: sum(means.values())})

    def measured(self, runner, data_batch: Any) -> list[str]:
        """Return the names of the losses of a batch, for the checks before training."""
        with evaluating(unwrapped(runner.model)):
            names = {
                name
                for windows in self._losses(runner, data_batch, 0)
                for terms in windows
                for name in terms
            }
        return [_TOTAL, *sorted(names)]

    def _losses(self, runner, data_batch: Any, done: int) -> Iterator[list[dict[str, Term]]]:
        positions = count(done * get_world_size() + get_rank(), get_world_size())
        with autocast(enabled=runner.val_loop.fp16):
            yield from losses_of_images(unwrapped(runner.model), data_batch, positions)

    def _add(self, terms: dict[str, Term]) -> None:
        for name, term in terms.items():
            total, weight = self._sums.get(name, (0.0, 0.0))
            if term.weight:
                total += term.value * term.weight
            self._sums[name] = total, weight + term.weight
