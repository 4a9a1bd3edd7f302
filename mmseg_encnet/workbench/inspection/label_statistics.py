"""Class frequency and co-occurrence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmseg_encnet.workbench.formatting import json_entries


@dataclass(frozen=True)
class LabelStatistics:
    """Statistics of the labels of a data set. One pixel suffices for a class to be present.

    Attributes:
        classes: Class names by index.
        images: Number of images.
        ignored_pixels: Number of pixels without a class.
        pixels: Pixels per class, ``(C,)`` int64.
        images_with_both: Images that contain both of two classes, ``(C, C)`` int64, symmetric;
            the diagonal counts the images that contain a class.
        images_by_class_count: Images by number of classes in them, ``(C + 1,)`` int64.
    """

    classes: tuple[str, ...]
    images: int
    ignored_pixels: int
    pixels: np.ndarray
    images_with_both: np.ndarray
    images_by_class_count: np.ndarray

    @classmethod
    def collect(cls, classes: Sequence[str], counts: Iterable[np.ndarray]) -> LabelStatistics:
        """Accumulate the counts of :func:`count_pixels` over images."""
        num_classes = len(classes)
        images = 0
        pixels = np.zeros(num_classes + 1, np.int64)
        together = np.zeros((num_classes, num_classes), np.int64)
        by_class_count = np.zeros(num_classes + 1, np.int64)
        for count in counts:
            occurring = np.flatnonzero(count[:num_classes])
            images += 1
            pixels += count
            together[np.ix_(occurring, occurring)] += 1
            by_class_count[occurring.size] += 1
        return cls(tuple(classes), images, int(pixels[-1]), pixels[:-1], together, by_class_count)

    @property
    def images_with(self) -> np.ndarray:
        """Number of images that contain each class, ``(C,)`` int64."""
        return self.images_with_both.diagonal()

    @property
    def classes_per_image(self) -> float:
        """Mean number of classes per image."""
        return float(self.images_with.sum() / self.images)

    @property
    def conditional_probability(self) -> np.ndarray:
        """Probability of a class (column) in images that contain another one (row), ``(C, C)``.

        The row of a class that never occurs is NaN.
        """
        with np.errstate(invalid='ignore'):
            return self.images_with_both / self.images_with[:, None]

    @property
    def class_weight(self) -> np.ndarray:
        """Weights of the classes in the cross-entropy that make rare ones count more, ``(C,)``.

        Proportional to ``share ** (-1 / 3)`` with the share of the labelled pixels; the mean over
        these pixels is 1, so learning rates keep their meaning. A class that never occurs gets 1.
        """
        occurring = self.pixels > 0
        share = self.pixels[occurring] / self.pixels.sum()
        weight = np.ones(len(self.pixels))
        weight[occurring] = share ** (-1 / 3) / (share ** (2 / 3)).sum()
        return weight

    def share(self, pixels: int) -> str:
        """Return a number of pixels as a percentage of all."""
        return f'{pixels / max(self.pixels.sum() + self.ignored_pixels, 1):.3%}'

    def write(self, path: Path) -> None:
        """Write all statistics as JSON; probabilities given a class that never occurs are null."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json_entries(self.content()))

    def content(self) -> dict[str, Any]:
        """Return all statistics in plain types; undefined probabilities are NaN."""
        return dict(
            images=self.images,
            labelled_pixels=int(self.pixels.sum()),
            ignored_pixels=self.ignored_pixels,
            classes_per_image=self.classes_per_image,
            classes=list(self.classes),
            pixels=self.pixels.tolist(),
            class_weight=[float(f'{weight:.2g}') for weight in self.class_weight],
            images_with=self.images_with.tolist(),
            images_by_class_count=self.images_by_class_count.tolist(),
            images_with_both=self.images_with_both.tolist(),
            conditional_probability=self.conditional_probability.tolist(),
        )


def class_table(splits: Mapping[str, LabelStatistics]) -> list[str]:
    """Return the lines of a table with the pixels and images of each class, by split."""
    classes = next(iter(splits.values())).classes
    rows = [('class', [(f'{split} pixels', 'images') for split in splits])]
    for index, name in enumerate(classes):
        cells = [
            (item.share(item.pixels[index]), f'{item.images_with[index]:,}')
            for item in splits.values()
        ]
        rows.append((f'{index:3} {name}', cells))
    rows.append(
        ('    ignored', [(item.share(item.ignored_pixels), '') for item in splits.values()])
    )
    width = max(len(title) for title, _ in rows)
    return [
        (
            f'{title:{width}}' + ''.join(f'  {share:>12}  {images:>7}' for share, images in cells)
        ).rstrip()
        for title, cells in rows
    ]
