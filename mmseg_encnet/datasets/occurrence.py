"""Which classes occur in the labels of a data set, from a bounded number of labels."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from mmseg_encnet.datasets.checked import CheckedPipeline
from mmseg_encnet.datasets.wrappers import leaf_datasets
from mmseg_encnet.errors import listed

# Maximum number of labels to read. Reading stops as soon as every class has occurred.
MAX_LABELS = 1000
_BATCH = 32
LOADS_LABELS = re.compile(r'Load\w*Annotation')


@dataclass(frozen=True)
class Occurrence:
    """The classes in the labels of a data set.

    Attributes:
        classes: Class names by index.
        occurs: Whether each class occurs in the labels that were read, ``(C,)`` bool.
        ignored: Whether a pixel without a class was read.
        read: Number of labels that were read.
        labels: Number of labels.
        reduces_zero_label: Whether the data set turns label 0 into ignored pixels.
    """

    classes: Sequence[str]
    occurs: np.ndarray
    ignored: bool
    read: int
    labels: int
    reduces_zero_label: bool

    def absent(self, split: str) -> str | None:
        """Return a sentence that names the classes that do not occur, or None if all do.

        Args:
            split: Name of the split, such as ``'training'``.
        """
        names = [repr(self.classes[index]) for index in np.flatnonzero(~self.occurs)]
        if not names:
            return None
        read = (
            f'{self.labels:,} {split} labels'
            if self.read == self.labels
            else f'{self.read:,} {split} labels that were read, of {self.labels:,}'
        )
        sentence = (
            f'{"classes" if len(names) > 1 else "class"} {listed(names, 10)} '
            f'{"occur" if len(names) > 1 else "occurs"} in none of the {read}'
        )
        if self.reduces_zero_label:
            sentence += '; reduce_zero_label=True ignores label 0 and lowers all others by one'
        elif self.ignored and self.occurs.sum() == 1:
            sentence += '; label 255 is ignored: if it means a class, write its index instead'
        return f'{sentence}.'


def find_occurrence(dataset: Any, limit: int = MAX_LABELS) -> Occurrence | None:
    """Read labels of a data set until every class has occurred.

    Args:
        dataset: A data set built by :func:`mmseg_encnet.datasets.checked.build_checked_dataset`.
        limit: Number of labels to read at most, chosen at random with a fixed seed.

    Returns:
        None if the data set has no class names, or its pipeline loads no labels.

    Raises:
        UserError: A label cannot be used; the message names the file.
    """
    classes = dataset.metainfo.get('classes') or ()
    readers = [(leaf, label_pipeline(leaf)) for leaf in leaf_datasets(dataset)]
    if not classes or not readers or any(reader is None for _, reader in readers):
        return None
    places = [(leaf, reader, index) for leaf, reader in readers for index in range(len(leaf))]
    order = np.random.default_rng(0).permutation(len(places))[:limit]
    seen = np.zeros(len(classes) + 1, bool)
    read = 0
    for counts in _counts([places[index] for index in order], len(classes)):
        seen |= counts > 0
        read += 1
        if seen[:-1].all():
            break
    reduces = any(getattr(leaf, 'reduce_zero_label', False) for leaf, _ in readers)
    return Occurrence(classes, seen[:-1], bool(seen[-1]), read, len(places), reduces)


def label_pipeline(dataset: BaseDataset) -> CheckedPipeline | None:
    """Return the steps of a data set's pipeline that load labels, None if there are none."""
    steps = [
        step for step in dataset.pipeline.transforms if LOADS_LABELS.search(type(step).__name__)
    ]
    return CheckedPipeline(dataset, steps) if steps else None


def count_pixels(label: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the pixels of one label.

    Args:
        label: Class indices ``(H, W)``; values outside the classes are ignored.
        num_classes: Number of classes.

    Returns:
        ``(num_classes + 1,)`` int64: pixels per class, then ignored pixels.
    """
    inside = label.ravel()
    if label.dtype != np.uint8:
        inside = label[(label >= 0) & (label < num_classes)].astype(np.int64)
    counts = np.bincount(inside, minlength=num_classes + 1)[: num_classes + 1]
    counts[num_classes] = 0
    counts[num_classes] = label.size - counts.sum()
    return counts


def _counts(places: Sequence[tuple], num_classes: int) -> Iterator[np.ndarray]:
    def count(place: tuple[BaseDataset, CheckedPipeline, int]) -> np.ndarray:
        leaf, reader, index = place
        return count_pixels(reader(leaf.get_data_info(index))['gt_seg_map'], num_classes)

    # Decoding releases the interpreter lock.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for start in range(0, len(places), _BATCH):
            yield from threads.map(count, places[start : start + _BATCH])
