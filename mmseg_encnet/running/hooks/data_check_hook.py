"""Check labels and images of a run before its first iteration."""

from __future__ import annotations

from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop

from mmseg_encnet.datasets.occurrence import Occurrence, find_occurrence
from mmseg_encnet.datasets.orientation import check_orientations
from mmseg_encnet.errors import UserError


class DataCheckHook(Hook):
    """Reports likely mistakes in the images and labels of the training and validation splits.

    - Warns of classes that occur in no label, which cannot be learnt or measured.
    - Stops training whose labels are all ignored, as with a ``reduce_zero_label`` that removes the
      only class.
    - Stops training on images whose EXIF orientation leaves the orientation of their labels open.

    It reads labels until every class has occurred, at most
    :data:`mmseg_encnet.datasets.occurrence.MAX_LABELS` of each split, in the main process. A
    resumed run is not checked again.
    """

    def before_run(self, runner) -> None:
        """Check the data sets of a training run.

        Raises:
            UserError: They cannot be used.
        """
        if not isinstance(runner._train_loop, BaseLoop) or runner._resume or not is_main_process():
            return
        sentences = []
        for split, loop in (('training', runner._train_loop), ('validation', runner._val_loop)):
            if not isinstance(loop, BaseLoop):
                continue
            dataset = loop.dataloader.dataset
            check_orientations(dataset)
            occurrence = find_occurrence(dataset)
            if occurrence is None:
                continue
            if split == 'training':
                _check_labelled(dataset, occurrence)
            sentences.append(occurrence.absent(split))
        warning = ' '.join(filter(None, sentences))
        if warning:
            runner.logger.warning(warning[0].upper() + warning[1:])


def _check_labelled(dataset: Any, occurrence: Occurrence) -> None:
    if occurrence.occurs.any() or occurrence.read < occurrence.labels:
        return
    root = getattr(dataset, 'data_root', None)
    name = type(dataset).__name__ + (f' at {root}' if root else '')
    if occurrence.reduces_zero_label:
        raise UserError(
            f'reduce_zero_label=True of {name} removes label 0, the only class in all '
            f'{occurrence.labels:,} training labels; set reduce_zero_label=False.'
        )
    raise UserError(
        f'every pixel of all {occurrence.labels:,} training labels of {name} is ignored; check its '
        'label files and ignore_index.'
    )
