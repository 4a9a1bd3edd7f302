"""The presence metric against scikit-learn and hand-computed values, over processes, in a run."""

from __future__ import annotations

import itertools
import logging
import math

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from mmseg.registry import METRICS
from process_group import in_process_group
from sklearn.metrics import average_precision_score, f1_score

from mmseg_encnet.configuration.switches import use_test_time_augmentation
from mmseg_encnet.errors import UserError
from mmseg_encnet.evaluation.metrics.presence_metric import calibration_bins

CLASSES = ('sky', 'sand', 'tower')


def sample(presence: list[float], truth: list[int]) -> dict:
    return dict(
        presence=torch.tensor(presence),
        gt_sem_seg=dict(data=torch.tensor([[truth]], dtype=torch.uint8)),
    )


def build(classes: tuple[str, ...] = CLASSES, **options):
    metric = METRICS.build(dict(type='PresenceMetric', **options))
    metric.dataset_meta = dict(classes=classes)
    return metric


def random_samples(
    seed: int, num_images: int, num_classes: int, levels: int | None
) -> tuple[list[dict], np.ndarray, np.ndarray]:
    """Return samples without the last class, their probabilities and their targets."""
    rng = np.random.default_rng(seed)
    present = rng.random((num_images, num_classes)) < 0.4
    present[:, -1] = False
    present[np.arange(num_images), rng.integers(num_classes - 1, size=num_images)] = True
    probabilities = np.clip(rng.normal(0.3 + 0.3 * present, 0.3), 0, 1).astype(np.float32)
    if levels:
        probabilities = np.round(probabilities * levels).astype(np.float32) / np.float32(levels)
    samples = [
        sample(row.tolist(), [*np.flatnonzero(truth), 255])
        for row, truth in zip(probabilities, present)
    ]
    return samples, probabilities, present


# Few levels cause ties, within classes and at the threshold of F1.
@pytest.mark.parametrize('levels', [None, 4, 1])
@pytest.mark.parametrize(('num_images', 'num_classes'), [(40, 7), (3, 60), (1, 2)])
def test_is_what_scikit_learn_computes(num_images, num_classes, levels):
    samples, probabilities, present = random_samples(0, num_images, num_classes, levels)
    metric = build(tuple(map(str, range(num_classes))))
    metric.process({}, samples)
    found = metric.evaluate(size=num_images)

    occurs = present.any(axis=0)
    called = probabilities >= 0.5
    edges = np.linspace(0, 1, 16)
    gaps = 0
    for low, high in itertools.pairwise(edges):
        inside = (probabilities <= high) & ((probabilities > low) | (low == 0))
        if inside.any():
            gaps += inside.sum() * abs(probabilities[inside].mean() - present[inside].mean())
    assert found == pytest.approx(
        {
            'presence/mAP': 100
            * average_precision_score(
                present[:, occurs], probabilities[:, occurs], average='macro'
            ),
            'presence/F1_macro': 100
            * f1_score(present, called, average=None, zero_division=0)[occurs].mean(),
            'presence/F1_micro': 100 * f1_score(present, called, average='micro'),
            'presence/ECE': 100 * gaps / probabilities.size,
        },
        abs=0.006,
    )


def test_by_hand(caplog):
    metric = build()
    with caplog.at_level(logging.INFO):
        metric.process(
            {},
            [
                sample([0.9, 0.1, 0.2], [0, 0, 0]),
                sample([0.8, 0.6, 0.2], [1, 1, 255]),
                # No labelled pixel.
                sample([0.1, 0.9, 0.9], [255, 255, 255]),
                sample([0.7, 0.4, 0.2], [0, 1, 0]),
            ],
        )
        found = metric.evaluate(size=4)
    # sky: ranks 1 and 3 of 3, so 1 and 2/3; three predictions, two correct: F1 4/5. sand: ranks 1
    # and 2; one prediction, correct, of two images: F1 2/3. No image contains a tower.
    assert found['presence/mAP'] == pytest.approx(100 * ((1 + 2 / 3) / 2 + 1) / 2, abs=0.006)
    assert found['presence/F1_macro'] == pytest.approx(100 * (4 / 5 + 2 / 3) / 2, abs=0.006)
    assert found['presence/F1_micro'] == pytest.approx(100 * 6 / 8, abs=0.006)
    # Each value is in a different bin, except for the three of 0.2.
    gaps = [0.1, 0.8, 0.3, 0.1, 0.4, 0.6, 3 * 0.2]
    assert found['presence/ECE'] == pytest.approx(100 * sum(gaps) / 9, abs=0.006)


def test_bins_of_calibration():
    bins = calibration_bins(
        np.array([[0, 0.1, 0.5], [0.75, 1, 0.9]]), np.array([[0, 1, 0], [1, 1, 0]]), 4
    )
    assert bins.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert bins.counts.tolist() == [2, 1, 1, 2]
    np.testing.assert_allclose(bins.confidence, [0.05, 0.5, 0.75, 0.95])
    np.testing.assert_allclose(bins.frequency, [0.5, 0, 1, 0.5])
    assert bins.error == pytest.approx((2 * 0.45 + 0.5 + 0.25 + 2 * 0.45) / 6)
    empty = calibration_bins(np.zeros(0), np.zeros(0), 3)
    assert empty.counts.tolist() == [0, 0, 0]
    assert np.isnan(empty.confidence).all() and np.isnan(empty.frequency).all()
    assert math.isnan(empty.error)


def test_a_data_set_without_labels():
    metric = build()
    metric.process({}, [sample([0.1, 0.2, 0.3], [255])])
    assert all(math.isnan(value) for value in metric.evaluate(size=1).values())


def test_ignored_may_be_a_class_index():
    metric = build(ignore_index=0)
    metric.process({}, [sample([1, 1, 0], [0, 1]), sample([1, 0, 1], [0, 0])])
    assert metric.evaluate(size=2)['presence/mAP'] == 100


def evaluate_part(metrics: list[str], classes: tuple[str, ...], samples: list[dict]) -> dict:
    """Return the metrics of one process, which gets every n-th sample, as in the toolbox."""
    rank, world_size = 0, 1
    if torch.distributed.is_initialized():
        rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    share = -(-len(samples) // world_size)
    part = [samples[i % len(samples)] for i in range(rank, share * world_size, world_size)]
    found = {}
    for name in metrics:
        metric = METRICS.build(dict(type=name))
        metric.dataset_meta = dict(classes=classes)
        metric.process({}, part)
        found.update(metric.evaluate(size=len(samples)))
    return found


def test_any_number_of_processes_measures_the_same():
    samples, _, _ = random_samples(1, 7, 5, None)
    generator = torch.Generator().manual_seed(0)
    for one in samples:
        size = one['gt_sem_seg']['data'].shape[1:]
        one['seg_logits'] = dict(data=torch.randn(5, *size, generator=generator))
    arguments = ['PresenceMetric', 'ContextConsistency'], tuple('abcde'), samples
    alone = evaluate_part(*arguments)
    assert len(alone) == 8 and all(math.isfinite(value) for value in alone.values())
    assert in_process_group(3, evaluate_part, *arguments) == [alone] * 3


@pytest.mark.parametrize(
    ('prediction', 'message'),
    [
        (dict(), 'has no SE branch'),
        (dict(presence=torch.zeros(4)), 'presence of 4 classes, expected 3'),
    ],
)
@pytest.mark.parametrize('metric', ['PresenceMetric', 'ContextConsistency'])
def test_predictions_without_their_presence_are_refused(metric, prediction, message):
    metric = METRICS.build(dict(type=metric))
    metric.dataset_meta = dict(classes=CLASSES)
    with pytest.raises(UserError, match=message):
        metric.process({}, [dict(prediction, gt_sem_seg=sample([0], [0])['gt_sem_seg'])])


def test_bins_have_to_be_some():
    with pytest.raises(UserError, match='num_bins must be positive, got 0'):
        build(num_bins=0)


METRICS_OF_A_RUN = [
    dict(type='IoUMetric'),
    dict(type='PresenceMetric'),
    dict(type='ContextConsistency'),
]
PRESENCE = {f'presence/{name}' for name in ('mAP', 'F1_macro', 'F1_micro', 'ECE')}


def test_in_a_training(tiny_config):
    runner = Runner.from_cfg(tiny_config({'val_evaluator': METRICS_OF_A_RUN}))
    runner.train()
    logged = {
        name.removeprefix('val/'): history.current()
        for name, history in runner.message_hub.log_scalars.items()
        if name.startswith('val/')
    }
    assert set(logged) > PRESENCE
    assert 0 < logged['presence/mAP'] <= 100
    # One is computed from the labels of the segmentor, the other from its scores.
    assert logged['context/mIoU'] == pytest.approx(logged['mIoU'], abs=0.006)
    assert 0 <= logged['context/contradicted'] <= 100


@pytest.mark.parametrize('prefix', ['', 'published_'])
def test_in_a_test_with_augmentation(tiny_config, prefix):
    cfg = tiny_config(
        {
            'test_evaluator': METRICS_OF_A_RUN,
            'model.test_cfg.crop_size': (48, 48),
            'model.test_cfg.stride': (32, 32),
            'published_tta_model.base_size': 64,
            'published_tta_model.scales': [0.5, 1.0],
        }
    )
    # Two views are enough.
    del cfg.tta_pipeline[1].transforms[0][1:]
    use_test_time_augmentation(cfg, prefix)
    found = Runner.from_cfg(cfg).test()
    assert set(found) > PRESENCE
    assert found['context/mIoU'] == pytest.approx(found['mIoU'], abs=0.006)
