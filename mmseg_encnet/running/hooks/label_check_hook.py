"""Stop training if no pixel is labelled, and report undefined metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.parts import unwrapped


@HOOKS.register_module()
class LabelCheckHook(Hook):
    """Stops training if all labels of the first iterations are ignored.

    Such a run learns nothing, and its losses of zero look fine. The labels are read on the CPU, as
    the data loader yields them, and only until the first labelled pixel. A batch without labels is
    not an error as long as another batch has some.

    Also warns if metrics of a validation or test are NaN.

    Args:
        iterations: Number of iterations after which to stop; all, if the run is shorter.
    """

    def __init__(self, iterations: int = 50) -> None:
        self.iterations = iterations
        self._labelled = False
        self._last = 0

    def before_train(self, runner) -> None:
        # A resumed run is past its first iterations.
        self._last = min(self.iterations, runner.max_iters) if runner.iter == 0 else 0
        self._labelled = False

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Check the labels of a batch.

        Raises:
            UserError: No process has had a labelled pixel in any iteration.
        """
        if runner.iter >= self._last:
            return
        head = getattr(unwrapped(runner.model), 'decode_head', None)
        ignored = getattr(head, 'ignore_index', 255)
        self._labelled = self._labelled or _has_labels(data_batch, ignored)
        if runner.iter + 1 == self._last and not any(all_gather_object(self._labelled)):
            dataset = runner.train_dataloader.dataset
            root = getattr(dataset, 'data_root', None)
            place = f' at {root}' if root else ''
            raise UserError(
                f'{type(dataset).__name__}{place} had no labelled pixel in the first {self._last} '
                f'iterations: every label is ignore_index={ignored}; check its label files, '
                'ignore_index and reduce_zero_label.'
            )

    def after_val_epoch(self, runner, metrics: Mapping[str, float] | None = None) -> None:
        self._warn_of_nan(runner, metrics)

    def after_test_epoch(self, runner, metrics: Mapping[str, float] | None = None) -> None:
        self._warn_of_nan(runner, metrics)

    @staticmethod
    def _warn_of_nan(runner, metrics: Mapping[str, float] | None) -> None:
        undefined = [
            name
            for name, value in (metrics or {}).items()
            if isinstance(value, Real) and math.isnan(value)
        ]
        if undefined:
            runner.logger.warning(
                f'got NaN for {", ".join(undefined)}: no pixel or image counted; check the label '
                'files, ignore_index and reduce_zero_label of the evaluated data set.'
            )


def _has_labels(data_batch: Any, ignored: int) -> bool:
    """Return whether a batch has a labelled pixel, or labels of an unknown form."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, Mapping) else None
    labels = [sample.gt_sem_seg.data for sample in samples or () if 'gt_sem_seg' in sample]
    return not labels or any((label != ignored).any() for label in labels)
