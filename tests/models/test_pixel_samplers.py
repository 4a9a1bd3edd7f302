"""Weights near boundaries, against a search of every window."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.models import BoundaryPixelSampler

HEAD = SimpleNamespace(ignore_index=255)


def searched(label: Tensor, width: int, weight: float) -> Tensor:
    result = torch.ones(label.shape)
    for image, weights in zip(label, result):
        for row in range(image.shape[0]):
            for column in range(image.shape[1]):
                window = image[
                    max(row - width, 0) : row + width + 1,
                    max(column - width, 0) : column + width + 1,
                ]
                if image[row, column] != 255 and len(set(window.flatten().tolist()) - {255}) > 1:
                    weights[row, column] = weight
    return result


@pytest.mark.parametrize('width', [1, 2, 9])
def test_weights_equal_those_of_a_search(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(3, (2, 4, 3), generator=generator)
    label = label.repeat_interleave(4, 1).repeat_interleave(4, 2)
    label[label == 1] = 200
    label[torch.rand(label.shape, generator=generator) < 0.2] = 255
    sampler = BoundaryPixelSampler(HEAD, width=width, weight=2.5)
    found = sampler.sample(torch.zeros(2, 3, 16, 12), label[:, None])
    assert torch.equal(found, searched(label, width, 2.5))


def test_unlabelled_pixels_are_no_boundary() -> None:
    label = torch.full((1, 1, 6, 6), 4)
    label[..., :3] = 255
    assert torch.equal(BoundaryPixelSampler(HEAD).weights(label), torch.ones(1, 6, 6))
    label[:] = 255
    assert torch.equal(BoundaryPixelSampler(HEAD).weights(label), torch.ones(1, 6, 6))


@pytest.mark.parametrize(
    'options, message',
    [(dict(width=0), 'width .* must be positive, got 0'), (dict(weight=-1), 'weight .* got -1')],
)
def test_arguments_outside_their_range_are_named(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        BoundaryPixelSampler(HEAD, **options)
