"""The figures of label statistics."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from mmseg_encnet.workbench.inspection import statistics_plots
from mmseg_encnet.workbench.inspection.label_statistics import LabelStatistics

PLOTS = [
    statistics_plots.plot_frequency,
    statistics_plots.plot_classes_per_image,
    statistics_plots.plot_co_occurrence,
]


def statistics(num_classes: int, images: int = 40) -> LabelStatistics:
    """Return statistics of scenes with even or odd class indices; the last class never occurs."""
    rng = np.random.default_rng(num_classes)
    counts = rng.integers(0, 3, (images, num_classes + 1)) * rng.integers(1, 900, num_classes + 1)
    counts[::2, :num_classes][:, 1::2] = 0
    counts[1::2, :num_classes][:, ::2] = 0
    if num_classes > 1:
        counts[:, num_classes - 1] = 0
    names = [f'class {index}' for index in range(num_classes)]
    return LabelStatistics.collect(names, counts)


@pytest.mark.parametrize('num_classes', [1, 2, 21, 61])
@pytest.mark.parametrize('plot', PLOTS, ids=lambda plot: plot.__name__)
def test_plots_are_whole(plot, num_classes, tmp_path):
    path = tmp_path / 'new' / 'plot.png'
    plot(statistics(num_classes), 'PascalContextDataset59, train split', path)
    picture = np.array(Image.open(path).convert('L'))
    assert (picture < 128).sum() > 1000
    # White edges: nothing is cut off.
    for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        assert (edge == 255).all()


def test_classes_of_one_kind_of_scene_are_neighbours():
    order = statistics_plots.co_occurrence_order(statistics(21))
    assert sorted(order) == list(range(20))
    kinds = [index % 2 for index in order]
    assert sum(kind != after for kind, after in pairwise(kinds)) == 1
