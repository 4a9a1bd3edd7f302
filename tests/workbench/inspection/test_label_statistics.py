"""Label statistics of sets small enough to count by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmseg_encnet.datasets.occurrence import count_pixels
from mmseg_encnet.workbench.inspection.label_statistics import LabelStatistics

CLASSES = ('sky', 'sea', 'boat', 'moon')
LABELS = [
    np.array([[0, 0, 0], [1, 1, 255]]),
    np.array([[0, 1, 1], [2, 255, 255]]),
    np.array([[0, 0, 0], [0, 0, 0]]),
    np.array([[255, 255]]),
]


def statistics_of(labels: list[np.ndarray]) -> LabelStatistics:
    return LabelStatistics.collect(CLASSES, (count_pixels(label, 4) for label in labels))


@pytest.mark.parametrize(
    'label, counts',
    [
        (LABELS[0].astype(np.uint8), [3, 2, 0, 0, 1]),
        (LABELS[1], [1, 2, 1, 0, 2]),
        (np.array([[-1, 4], [3, 3]]), [0, 0, 0, 2, 2]),
        (np.zeros((0, 3), np.int64), [0] * 5),
    ],
)
def test_pixels_are_counted(label, counts):
    assert count_pixels(label, 4).tolist() == counts


def test_statistics_of_four_images():
    statistics = statistics_of(LABELS)
    assert statistics.images == 4
    assert statistics.pixels.tolist() == [10, 4, 1, 0]
    assert statistics.ignored_pixels == 5
    assert statistics.images_with.tolist() == [3, 2, 1, 0]
    assert statistics.images_with_both.tolist() == [
        [3, 2, 1, 0],
        [2, 2, 1, 0],
        [1, 1, 1, 0],
        [0, 0, 0, 0],
    ]
    assert statistics.images_by_class_count.tolist() == [1, 1, 1, 1, 0]
    assert statistics.classes_per_image == 1.5
    given = statistics.conditional_probability
    assert given[:3].tolist() == [[1, 2 / 3, 1 / 3, 0], [1, 1, 0.5, 0], [1, 1, 1, 0]]
    assert np.isnan(given[3]).all()


def test_class_weights_balance_rare_classes():
    statistics = statistics_of(LABELS)
    weight = statistics.class_weight
    assert weight @ statistics.pixels / statistics.pixels.sum() == pytest.approx(1)
    # Ten times as rare, the cube root of ten times the weight.
    assert weight[2] / weight[0] == pytest.approx(10 ** (1 / 3))
    assert weight[3] == 1
    assert statistics_of([LABELS[3]]).class_weight.tolist() == [1, 1, 1, 1]


def test_statistics_do_not_depend_on_the_order_of_the_images():
    forth, back = statistics_of(LABELS), statistics_of(LABELS[::-1])
    assert (forth.images_with_both == back.images_with_both).all()
    assert (forth.pixels == back.pixels).all()


def test_json_holds_every_number(tmp_path):
    path = tmp_path / 'new' / 'statistics.json'
    statistics_of(LABELS).write(path)
    # Strict: a browser refuses NaN.
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    probabilities = content.pop('conditional_probability')
    assert content == dict(
        images=4,
        labelled_pixels=15,
        ignored_pixels=5,
        classes_per_image=1.5,
        classes=list(CLASSES),
        pixels=[10, 4, 1, 0],
        class_weight=[0.85, 1.2, 1.8, 1.0],
        images_with=[3, 2, 1, 0],
        images_by_class_count=[1, 1, 1, 1, 0],
        images_with_both=[[3, 2, 1, 0], [2, 2, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]],
    )
    assert probabilities[1] == [1, 1, 0.5, 0]
    assert probabilities[3] == [None] * 4
