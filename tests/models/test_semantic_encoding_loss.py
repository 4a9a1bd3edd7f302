"""The SE loss and its variants against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.losses import balanced_pos_weight

LOGITS = [[0.5, -2.0, 3.0], [-1.0, 0.0, 4.0], [2.0, 1.0, -3.0]]


def literal(logits: torch.Tensor, presence: torch.Tensor) -> torch.Tensor:
    probability = 1 / (1 + torch.exp(-logits))
    terms = presence * probability.log() + (1 - presence) * (1 - probability).log()
    return -terms.mean()


@pytest.mark.parametrize(
    'presence, labelled',
    [
        ([[1, 0, 1], [0, 1, 0], [0, 0, 1]], [0, 1, 2]),
        # The second image has no labelled pixel.
        ([[1, 0, 1], [0, 0, 0], [0, 0, 1]], [0, 2]),
        ([[0, 0, 0], [0, 0, 0], [1, 1, 1]], [2]),
    ],
)
@pytest.mark.parametrize('dtype', [torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize('weight', [0.2, 1.0])
def test_is_the_cross_entropy_of_labelled_images(presence, labelled, dtype, weight):
    logits = torch.tensor(LOGITS, dtype=torch.float64)
    presence = torch.tensor(presence)
    loss = MODELS.build(dict(type='SemanticEncodingLoss', loss_weight=weight))
    expected = weight * literal(logits[labelled], presence[labelled].double())
    torch.testing.assert_close(loss(logits, presence.to(dtype)), expected)


def test_unlabelled_images_can_count_as_empty_ones():
    logits = torch.tensor(LOGITS, dtype=torch.float64)
    presence = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 0, 1]])
    loss = MODELS.build(dict(type='SemanticEncodingLoss', skip_unlabelled=False))
    expected = 0.2 * literal(logits, presence.double())
    torch.testing.assert_close(loss(logits, presence), expected)


def test_a_batch_without_labels_costs_nothing():
    logits = torch.tensor(LOGITS, requires_grad=True)
    loss = MODELS.build(dict(type='SemanticEncodingLoss'))(logits, torch.zeros(3, 3))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(3, 3))


def test_large_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = MODELS.build(dict(type='SemanticEncodingLoss', loss_weight=1.0))(
        logits, torch.tensor([[0.0, 1.0]])
    )
    loss.backward()
    assert loss.item() == pytest.approx(1e4)
    assert torch.isfinite(logits.grad).all()


def test_shapes_that_differ_are_named():
    loss = MODELS.build(dict(type='SemanticEncodingLoss'))
    with pytest.raises(ValueError, match=r'\(2, 3\).*\(2, 4\)'):
        loss(torch.zeros(2, 3), torch.zeros(2, 4))


def one_term(x: float, y: float, w: float, g: float, h: float, margin: float) -> float:
    """Return the loss of one class from its published formula, in Python numbers."""
    p = 1 / (1 + math.exp(-x))
    q = max(p - margin, 0)
    return -w * y * (1 - p) ** g * math.log(p) - (1 - y) * q**h * math.log(1 - q)


VARIANTS = {
    'one weight': dict(pos_weight=3.0),
    'a weight per class': dict(pos_weight=[0.5, 2.0, 4.0]),
    'from counts': dict(pos_weight=dict(images_per_class=[80, 20, 1], num_images=100)),
    'smoothing': dict(label_smoothing=0.1),
    'focal': dict(gamma=2.0),
    'asymmetric': dict(gamma=(0, 4), margin=0.05),
    'asymmetric focusing': dict(gamma=(1, 4)),
    'a margin alone': dict(margin=0.2),
    'all': dict(pos_weight=[0.5, 2.0, 4.0], gamma=(0.5, 0.5), margin=0.1, label_smoothing=0.2),
}


@pytest.mark.parametrize('options', VARIANTS.values(), ids=VARIANTS.keys())
def test_variants_equal_their_formulas(options: dict) -> None:
    logits = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    presence = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    loss = MODELS.build(dict(options, type='SemanticEncodingLoss', loss_weight=1.0))
    weights = options.get('pos_weight', 1.0)
    if isinstance(weights, dict):
        weights = [0.25, 4.0, 10.0]
    weights = torch.as_tensor(weights).expand(3).tolist()
    gamma, s = options.get('gamma', 0), options.get('label_smoothing', 0)
    g, h = gamma if isinstance(gamma, tuple) else (gamma, gamma)
    terms = [
        one_term(x, y * (1 - s) + s / 2, w, g, h, options.get('margin', 0))
        for row, targets in zip(LOGITS, presence.tolist())
        for x, y, w in zip(row, targets, weights)
    ]
    assert loss(logits, presence).item() == pytest.approx(sum(terms) / len(terms), rel=1e-6)
    assert torch.autograd.gradcheck(lambda x: loss(x, presence), logits)


@pytest.mark.parametrize('options', VARIANTS.values(), ids=VARIANTS.keys())
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_variants_stay_finite(options: dict, dtype: torch.dtype) -> None:
    logits = torch.tensor([[200.0, -200, 0.01], [-200, 200, -0.01]], dtype=dtype)
    logits.requires_grad_()
    loss = MODELS.build(dict(options, type='SemanticEncodingLoss'))
    loss(logits, torch.tensor([[1, 1, 0], [1, 0, 1]])).backward()
    assert logits.grad.isfinite().all()


def test_focal_loss_keeps_hard_classes() -> None:
    logits, presence = torch.tensor([[5.0, -3.0]]), torch.ones(1, 2)
    plain, focal = (
        MODELS.build(dict(type='SemanticEncodingLoss', gamma=gamma))._terms(logits, presence)
        for gamma in (0, 2)
    )
    easy, hard = (focal / plain)[0]
    assert easy < 1e-3 and hard > 0.9


def test_asymmetric_loss_drops_easy_absent_classes() -> None:
    logits = torch.tensor([[-4.0, 2.0]], requires_grad=True)
    loss = MODELS.build(dict(type='SemanticEncodingLoss', gamma=(0, 4), margin=0.05))
    loss = loss._terms(logits, torch.zeros(1, 2))
    loss.sum().backward()
    assert logits.grad[0, 0] == 0 < logits.grad[0, 1]


def test_weights_are_not_in_checkpoints() -> None:
    assert not MODELS.build(dict(type='SemanticEncodingLoss', pos_weight=2.0)).state_dict()


def test_balanced_weights_give_both_outcomes_the_same_weight() -> None:
    counts = torch.tensor([25, 50, 90])
    weights = torch.tensor(balanced_pos_weight(counts.tolist(), 100))
    torch.testing.assert_close(weights * counts, 100.0 - counts)
    assert balanced_pos_weight([0, 100], 100) == [10.0, 0.1]
    assert balanced_pos_weight([0, 100], 100, limit=2.0) == [2.0, 0.5]


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(gamma=-1), 'got gamma=-1, expected a non-negative number'),
        (dict(gamma=(1, 2, 3)), 'got gamma='),
        (dict(margin=1), 'margin must be at least 0 and less than 1, got 1'),
        (dict(label_smoothing=-0.1), 'label_smoothing must be .*, got -0.1'),
        (dict(pos_weight=0), 'got pos_weight=0, expected a positive number'),
        (dict(pos_weight=[1.0, math.inf]), 'got pos_weight='),
        (dict(pos_weight='balanced'), 'got pos_weight='),
        (dict(pos_weight=dict(counts=[1])), 'expected dict.images_per_class='),
        (dict(pos_weight=dict(images_per_class=[11], num_images=10)), 'at most num_images'),
        (dict(pos_weight=dict(images_per_class=[1], num_images=10, limit=0)), 'limit must be'),
    ],
)
def test_arguments_outside_their_range_are_named(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MODELS.build(dict(options, type='SemanticEncodingLoss'))
