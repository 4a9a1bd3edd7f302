"""Labels at the size of an image against F.interpolate and argmax, bit for bit."""

from __future__ import annotations

import pytest
import torch

from mmseg_encnet.ops.upsampled_labels import Resizing, native, upsampled_labels

needs_kernels = pytest.mark.skipif(not native.INSTRUCTION_SETS, reason='kernels were not built')
CROPPED = Resizing((160, 190), slice(3, 150), slice(10, 189), flip_columns=True)
CASES = {
    'enlarged': ((21, 14, 17), [Resizing((97, 83))]),
    'enlarged, then shrunk': ((150, 20, 30), [Resizing((160, 240)), Resizing((75, 113))]),
    'enlarged twice': ((4, 5, 7), [Resizing((80, 112)), Resizing((243, 191))]),
    'same size': ((9, 90, 70), [Resizing((90, 70)), Resizing((90, 70))]),
    'one position': ((6, 1, 1), [Resizing((70, 60))]),
    'padding and a horizontal flip': ((7, 20, 24), [CROPPED, Resizing((300, 40))]),
    'vertical flip': ((7, 20, 24), [Resizing((80, 90), flip_rows=True), Resizing((61, 71))]),
}


@needs_kernels
@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('name', CASES)
def test_labels_are_those_of_the_scores(name, ties, align_corners):
    shape, resizings = CASES[name]
    generator = torch.Generator().manual_seed(1)
    # Thirds of a few integers: in many pixels, classes are equal but for rounding.
    values = torch.randint(-2, 3, shape, generator=generator) / 3
    logits = values if ties else torch.randn(shape, generator=generator)
    absent = torch.arange(shape[0]) % 3 == 1
    scores = logits[None]
    for resizing in resizings:
        scores = resizing.apply(scores, align_corners)
    for mask in (None, absent, torch.ones_like(absent)):
        expected = scores
        if mask is not None:
            expected = scores.masked_fill(mask[None, :, None, None], float('-inf'))
        labels = upsampled_labels(logits, resizings, align_corners=align_corners, absent=mask)
        assert labels is not None
        assert torch.equal(labels, expected[0].argmax(dim=0))


@needs_kernels
def test_the_number_of_threads_does_not_matter():
    logits = torch.randn(30, 40, 50, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(upsampled_labels(logits, [Resizing((200, 333))]))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    'logits, resizings',
    [
        (torch.zeros(5, 4, 4, dtype=torch.float64), [Resizing((100, 100))]),
        (torch.zeros(5, 4, 4, dtype=torch.bfloat16), [Resizing((100, 100))]),
        (torch.full((5, 4, 4), float('nan')), [Resizing((100, 100))]),
        (torch.full((5, 4, 4), float('inf')), [Resizing((100, 100))]),
        (torch.zeros(3, 4, 4), [Resizing((100, 100))]),
        (torch.zeros(5, 4, 4), [Resizing((100, 100)), Resizing((60, 60))]),
        (torch.zeros(5, 4, 4), [Resizing((100, 100))] * 3),
        (torch.zeros(5, 4, 4, device='meta'), [Resizing((100, 100))]),
    ],
)
def test_what_the_kernels_do_not_compute(logits, resizings):
    assert upsampled_labels(logits, resizings) is None
