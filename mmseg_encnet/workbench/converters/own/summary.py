"""What a conversion found and wrote, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmseg_encnet.errors import listed
from mmseg_encnet.workbench.formatting import strict_json
from mmseg_encnet.workbench.inspection.label_statistics import LabelStatistics, class_table

_SIZES = 5


@dataclass(frozen=True)
class Summary:
    """A summary of a conversion.

    Attributes:
        format: Format of the labels.
        table: File of the class table, None if there was none.
        statistics: Statistics of the labels by split.
        sizes: Height and width of each image.
        notes: Sentences about doubtful findings.
    """

    format: str
    table: str | None
    statistics: Mapping[str, LabelStatistics]
    sizes: Sequence[tuple[int, int]]
    notes: Sequence[str]

    @property
    def counts(self) -> dict[str, int]:
        """Number of images by split."""
        return {split: item.images for split, item in self.statistics.items()}

    @property
    def warnings(self) -> list[str]:
        """The notes, and sentences about classes that lack pixels."""
        train = self.statistics['train']
        names = [repr(train.classes[i]) for i in np.flatnonzero(train.pixels == 0)]
        absent = [f'no training image contains {listed(names, 10)}'] if names else []
        return [*self.notes, *absent]

    def write(self, path: Path) -> None:
        """Write the summary as JSON."""
        heights, widths = np.array(self.sizes).T.tolist()
        common = Counter(self.sizes).most_common()
        content = dict(
            format=self.format,
            class_table=self.table,
            notes=self.warnings,
            sizes=dict(
                height=_spread(heights),
                width=_spread(widths),
                images_by_size=[
                    dict(height=size[0], width=size[1], images=count) for size, count in common
                ],
            ),
            splits={split: item.content() for split, item in self.statistics.items()},
        )
        path.write_text(strict_json(content) + '\n', encoding='utf-8')

    def text(self) -> str:
        """Return the summary as a table of classes by split."""
        images = ', '.join(f'{count:,} {split}' for split, count in self.counts.items())
        common = Counter(self.sizes).most_common()
        sizes = listed([f'{width} x {height}' for (height, width), _ in common], _SIZES)
        return '\n'.join(
            [
                f'labels: {self.format}{f", classes of {self.table}" if self.table else ""}',
                f'images: {images}',
                f'sizes (width x height): {sizes}',
                '',
                *class_table(self.statistics),
            ]
        )


def _spread(values: Sequence[int]) -> dict[str, float]:
    return dict(min=min(values), median=float(np.median(values)), max=max(values))
