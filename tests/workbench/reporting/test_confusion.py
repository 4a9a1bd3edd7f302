"""Metrics of a confusion matrix, against the toolbox and hand-counted pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from mmseg_encnet.workbench.reporting import confusion


def test_shares_are_those_of_the_toolbox():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 4, (20, 30), generator=generator)
    prediction = torch.where(
        torch.rand(20, 30, generator=generator) < 0.5,
        truth,
        torch.randint(0, 5, (20, 30), generator=generator),
    )
    truth[:3] = 255
    counts = confusion.count_pixels(truth, prediction, 6)
    assert counts.sum() == (truth != 255).sum()
    areas = IoUMetric.intersect_and_union(prediction, truth, 6, 255)
    expected = IoUMetric.total_area_to_metrics(*areas)
    np.testing.assert_allclose(confusion.class_iou(counts), expected['IoU'], rtol=1e-6)
    np.testing.assert_allclose(confusion.class_accuracy(counts), expected['Acc'], rtol=1e-6)


@pytest.mark.parametrize(
    'counts, pairs',
    [
        ([[5, 0], [0, 3]], []),
        (
            [[6, 2, 0], [1, 4, 5], [0, 0, 0]],
            [(1, 2, 5 / 10, 5 / 8), (0, 1, 2 / 8, 2 / 8), (1, 0, 1 / 10, 1 / 8)],
        ),
    ],
)
def test_most_confused_pairs(counts, pairs):
    found = confusion.most_confused(np.array(counts), 5)
    assert [(each.truth, each.prediction, each.of_truth, each.of_errors) for each in found] == pairs
    assert confusion.most_confused(np.array(counts), 1) == found[:1]
