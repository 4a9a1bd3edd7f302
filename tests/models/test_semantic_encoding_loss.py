"""The SE loss against an explicit binary cross-entropy."""

from __future__ import annotations

import pytest
import torch
from mmseg.registry import MODELS

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
