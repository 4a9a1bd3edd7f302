from __future__ import annotations

import math

import pytest
import torch
from mmseg.registry import METRICS

from mmseg_encnet.errors import UserError

META = dict(
    classes=('sky', 'sand', 'earth', 'tower', 'house'),
    twins=(('sand', 'earth'), ('tower', 'house')),
)


def sample(truth: list[int], prediction: list[int]) -> dict:
    return dict(
        gt_sem_seg=dict(data=torch.tensor([[truth]])),
        pred_sem_seg=dict(data=torch.tensor([[prediction]])),
    )


def build(meta: dict | None = META):
    metric = METRICS.build(dict(type='TwinPixelAccuracy'))
    metric.dataset_meta = meta
    return metric


@pytest.mark.parametrize(
    ('truth', 'prediction', 'expected'),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], (100, 100, 100)),
        ([1, 2, 3, 4], [2, 1, 4, 3], (0, 0, 0)),
        # Any other class is as wrong as the twin.
        ([1, 1, 2, 2], [1, 0, 2, 1], (50, 50, math.nan)),
        # Pixels of other classes and ignored pixels do not count.
        ([0, 0, 255, 3], [1, 0, 3, 3], (100, math.nan, 100)),
        # The overall accuracy is over pixels, not pairs.
        ([1, 1, 1, 3], [1, 1, 1, 4], (75, 100, 0)),
        ([0, 255, 0, 0], [0, 0, 0, 0], (math.nan, math.nan, math.nan)),
    ],
)
def test_share_of_twin_pixels_that_are_exactly_right(truth, prediction, expected):
    metric = build()
    metric.process({}, [sample(truth, prediction)])
    assert metric.evaluate(size=1) == pytest.approx(
        dict(zip(('twinAcc', 'twinAcc_sand_earth', 'twinAcc_tower_house'), expected)), nan_ok=True
    )


def test_counts_are_summed_over_images_and_what_a_sampler_repeats_is_dropped():
    metric = build()
    metric.process({}, [sample([1, 1, 1, 1], [1, 1, 1, 1]), sample([2, 0, 0, 0], [1, 0, 0, 0])])
    metric.process({}, [sample([2, 2, 2, 2], [1, 1, 1, 1])])
    assert metric.evaluate(size=2)['twinAcc'] == 80


@pytest.mark.parametrize(
    ('meta', 'message'),
    [
        (None, "without metainfo\\['twins'\\]"),
        (dict(classes=('sky', 'sand')), "without metainfo\\['twins'\\]"),
        (dict(classes=('sky', 'sand'), twins=(('sand', 'mud'),)), "unknown class 'mud'"),
    ],
)
def test_data_sets_without_twins_are_refused(meta, message):
    with pytest.raises(UserError, match=message):
        build(meta).process({}, [sample([0], [0])])
