"""Context consistency against hand-counted values and the toolbox's mIoU."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import METRICS

from mmseg_encnet.errors import UserError

CLASSES = ('sky', 'sand', 'tower')


def sample(presence: list[float], pixels: list[tuple[int, int, int]]) -> dict:
    """Return a row of pixels, each given by its true, its best and its second best class."""
    truth, best, second = (torch.tensor(column) for column in zip(*pixels))
    scores = 2 * F.one_hot(best, 3) + F.one_hot(second, 3)
    return dict(
        presence=torch.tensor(presence),
        gt_sem_seg=dict(data=truth[None, None]),
        seg_logits=dict(data=scores.T[:, None].float()),
    )


def build(name: str = 'ContextConsistency', **options):
    metric = METRICS.build(dict(type=name, **options))
    metric.dataset_meta = dict(classes=CLASSES)
    return metric


SAMPLES = [
    # At 0.5 the tower is absent; two labelled pixels are predicted as tower, one of them correctly.
    sample([0.9, 0.6, 0.2], [(0, 0, 1), (0, 2, 0), (2, 2, 1), (1, 1, 0), (255, 2, 0)]),
    # At 0.5 all classes would be absent; sand, the most probable one, is kept.
    sample([0.1, 0.4, 0.3], [(1, 1, 2), (0, 2, 1), (1, 0, 1)]),
]
# Sky 1 of 4 pixels, sand 2 of 3, tower 1 of 3.
PLAIN = (1 / 4 + 2 / 3 + 1 / 3) / 3


@pytest.mark.parametrize(
    ('threshold', 'expected'),
    [
        # Three pixels of tower and, in the second image, one of sky; one of the four is correct.
        # With the second best class, sky has 2 of 3, sand 3 of 5 and tower none of 1.
        (0.5, (4 / 7, 3 / 4, PLAIN, (2 / 3 + 3 / 5 + 0) / 3)),
        # In the second image tower is kept and sky is suppressed.
        (0.25, (3 / 7, 2 / 3, PLAIN, (2 / 3 + 3 / 4 + 0) / 3)),
        (0.0, (0, math.nan, PLAIN, PLAIN)),
    ],
)
def test_by_hand(threshold, expected):
    metric = build(threshold=threshold)
    metric.process({}, SAMPLES)
    names = ('contradicted', 'veto_precision', 'mIoU', 'mIoU_suppressed')
    assert metric.evaluate(size=2) == pytest.approx(
        {f'context/{name}': 100 * value for name, value in zip(names, expected)},
        abs=0.006,
        nan_ok=True,
    )


def test_miou_is_the_toolbox_s():
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(6):
        scores = torch.randn(3, 9, 11, generator=generator)
        truth = torch.randint(0, 4, (1, 9, 11), generator=generator)
        truth[truth == 3] = 255
        samples.append(
            dict(
                presence=torch.rand(3, generator=generator),
                seg_logits=dict(data=scores),
                pred_sem_seg=dict(data=scores.argmax(dim=0, keepdim=True)),
                gt_sem_seg=dict(data=truth),
            )
        )
    reference, metric = build('IoUMetric'), build()
    for one in (reference, metric):
        one.process({}, samples)
    assert metric.evaluate(size=6)['context/mIoU'] == pytest.approx(
        reference.evaluate(size=6)['mIoU'], abs=0.006
    )


def test_what_a_sampler_repeats_is_dropped():
    metrics = build(), build()
    for metric, samples in zip(metrics, (SAMPLES[:1], [SAMPLES[0], SAMPLES[1]])):
        metric.process({}, samples)
    one, other = (metric.evaluate(size=1) for metric in metrics)
    assert one == other


@pytest.mark.parametrize('scores', [{}, dict(seg_logits=dict(data=torch.zeros(1, 1, 1)))])
def test_needs_a_score_for_each_class(scores):
    incomplete = {**SAMPLES[0], **scores}
    if not scores:
        del incomplete['seg_logits']
    with pytest.raises(UserError, match='one score for each of the 3 classes'):
        build().process({}, [incomplete])


def test_threshold_is_a_probability():
    with pytest.raises(UserError, match='threshold must be a probability from 0 to 1, got 50'):
        build(threshold=50)
