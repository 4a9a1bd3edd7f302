from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseg_encnet.ops import presence_targets

DTYPES = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), num_classes=st.integers(1, 300))
def test_is_the_set_of_labels(data, dtype, num_classes):
    shape = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 4)))
    limits = torch.iinfo(dtype)
    values = st.integers(max(limits.min, -(2**31)), min(limits.max, 2**31))
    size = shape[0] * shape[1] * shape[2]
    labels = data.draw(st.lists(values, min_size=size, max_size=size))
    labels = torch.tensor(labels, dtype=dtype).view(shape)
    targets = presence_targets(labels, num_classes)
    assert targets.shape == (shape[0], num_classes)
    assert targets.dtype == torch.float32
    for image, target in zip(labels.tolist(), targets):
        present = {v for row in image for v in row if 0 <= v < num_classes}
        assert set(target.nonzero().flatten().tolist()) == present
        assert target.sum() == len(present)


@pytest.mark.parametrize('shape', [(2, 1, 5, 7), (2, 35), (2,)])
def test_any_number_of_dimensions(shape):
    labels = torch.full(shape, 255)
    labels.view(2, -1)[1, 0] = 3
    assert presence_targets(labels, 5).tolist() == [[0] * 5, [0, 0, 0, 1, 0]]


def test_compiles_in_one_graph():
    compiled = torch.compile(presence_targets, fullgraph=True, backend='aot_eager')
    labels = torch.tensor([[0, 255, -1], [2, 2, 9]])
    assert torch.equal(compiled(labels, 3), presence_targets(labels, 3))


@pytest.mark.parametrize(
    ('labels', 'num_classes', 'message'),
    [
        (torch.zeros(1, 2), 3, 'got labels of dtype torch.float32, expected an integer'),
        (torch.zeros(1, 2, dtype=torch.long), 0, 'num_classes must be positive, got 0'),
    ],
)
def test_names_what_does_not_fit(labels, num_classes, message):
    with pytest.raises(ValueError, match=message):
        presence_targets(labels, num_classes)
