"""Run-length codes, compared with pycocotools for valid codes."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmseg_encnet.workbench.converters.run_length import decode


def masks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    rows, columns = np.indices((500, 375))
    return [
        np.zeros((3, 5), bool),
        np.ones((3, 5), bool),
        np.ones((1, 1), bool),
        np.tri(7, 4, dtype=bool),
        rng.random((40, 30)) < 0.5,
        rng.random((200, 300)) < 0.01,
        (rows - 240) ** 2 + (columns - 100) ** 2 < 150**2,
        np.ones((2000, 3000), bool),
    ]


@pytest.mark.parametrize('mask', masks(), ids=lambda mask: f'{mask.shape}')
@pytest.mark.parametrize('packed', [True, False])
def test_the_mask_comes_back(mask, packed):
    height, width = mask.shape
    counts = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))['counts'].decode()
    if not packed:
        column_wise = mask.T.ravel()
        edges = np.flatnonzero(np.diff(column_wise)) + 1
        counts = np.diff([0, *edges, mask.size]).tolist()
        counts = [0, *counts] if column_wise[0] else counts
    assert np.array_equal(decode(counts, height, width), mask)


@pytest.mark.parametrize(
    'counts',
    [
        '',
        ';',
        'zzzz',
        'é',
        'ooooooooooooo0',
        'o',
        '5',
        '54',
        'Z1',
        [],
        [5, 2],
        [5, 100],
        [5, -3, 10],
        [2**62, 2**62, 12],
        ['a'],
        [12.0],
        [[12]],
    ],
    ids=repr,
)
def test_what_is_no_mask_of_that_size(counts):
    with pytest.raises(ValueError):
        decode(counts, 3, 4)
