"""The Triton kernels on the CPU; `test_loss_triton.py` runs this with ``TRITON_INTERPRET=1``."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_upsampled_cross_entropy import (
    IGNORED,
    OPTIONS,
    decisions,
    errors,
    ignored_by_option,
    literal,
    problem,
    value_and_gradient,
    weights,
)

from mmseg_encnet.ops import cross_entropy_sums, upsampled_cross_entropy
from mmseg_encnet.ops.upsampled_cross_entropy import BACKENDS, triton
from mmseg_encnet.ops.upsampled_cross_entropy.triton.tiles import VARIANTS, column_tile

SIZES = {
    'eight times': (2, 5, 11, 40),
    'any': (3, 4, 7, 30),
    'down': (9, 14, 4, 5),
    'down and up': (7, 2, 3, 11),
    'as they are': (2, 6, 2, 6),
    # Several tiles of small columns, and several tiles of labels for one of them.
    'wide': (1, 40, 2, 75),
    'a position to 300 pixels': (1, 1, 2, 300),
    'to one label': (4, 3, 1, 1),
}


def run(logits, label, **options):
    return value_and_gradient(upsampled_cross_entropy, logits, label, backend='triton', **options)


def small(classes: int = 5, size=SIZES['any']) -> tuple[torch.Tensor, torch.Tensor]:
    return problem(classes, *size, batch=1)


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('size', SIZES)
def test_any_size(size, align_corners):
    logits, label = problem(3, *SIZES[size], batch=2 if size == 'any' else 1)
    label[:, 0, 0] = 1
    options = dict(align_corners=align_corners)
    expected = value_and_gradient(literal, logits, label, torch.float64, **options)
    single = value_and_gradient(literal, logits, label, **options)
    ours = run(logits, label, **options)
    for error, other in zip(errors(ours, expected), errors(single, expected)):
        assert error < max(1e-6, 2 * other)


@pytest.mark.parametrize('number', range(len(VARIANTS)))
def test_every_variant(number):
    arguments = *small(), None, None, False, IGNORED, 0.0, False
    arguments[0].requires_grad_()
    results = []
    for backend in ('strips', 'triton'):
        operator = list(BACKENDS[backend].candidates(*arguments).values())[
            number if backend == 'triton' else 0
        ]
        total, *others = operator(*arguments)
        results.append([total, *others, torch.autograd.grad(total, arguments[0])[0]])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    ('name', 'dtype'),
    [(name, torch.float32) for name in OPTIONS]
    + [('all', torch.bfloat16), ('class weights', torch.float16)],
)
def test_any_option(name, dtype):
    logits, label = small(6)
    logits = logits.to(dtype)
    if 'class' in name:
        logits = logits.to(memory_format=torch.channels_last)
    options = weights(label, **OPTIONS[name])
    label = ignored_by_option(label, name)
    expected = value_and_gradient(literal, logits, label, torch.float64, **options)
    loss, grad = run(logits, label, **options)
    assert loss.dtype == torch.float32 and grad.dtype == dtype and grad.stride() == logits.stride()
    loss_error, grad_error = errors((loss, grad), expected)
    assert loss_error < 1e-6 and grad_error < max(1e-6, torch.finfo(dtype).eps)


@pytest.mark.parametrize(('classes', 'weighted'), [(5, True), (2, False)])
def test_several_scores(classes, weighted):
    logits, label = small(classes)
    options = weights(label, weighted, weighted, classes=classes)
    expected = value_and_gradient(decisions, logits, label, torch.float64, **options)
    ours = run(logits, label, use_sigmoid=True, **options)
    assert all(error < 1e-6 for error in errors(ours, expected))
    sums = cross_entropy_sums(logits, label, use_sigmoid=True, backend='triton')
    assert sums.divisor == classes * (label != IGNORED).sum()


def test_one_score():
    score, label = small(1)
    label = torch.where(
        label == IGNORED, label, (torch.arange(label.shape[2]) % 2).expand(*label.shape)
    )
    options = dict(use_sigmoid=True, class_weight=torch.tensor([1.0, 3.0]))
    expected = upsampled_cross_entropy(score, label, backend='reference', **options)
    torch.testing.assert_close(
        upsampled_cross_entropy(score, label, backend='triton', **options), expected
    )


def test_sums_and_accuracy():
    logits, label = small()
    sums = cross_entropy_sums(logits, label, backend='triton')
    labelled = label != IGNORED
    resized = F.interpolate(logits, size=label.shape[1:], mode='bilinear')
    assert sums.labelled == sums.divisor == labelled.sum()
    assert sums.correct == ((resized.argmax(dim=1) == label) & labelled).sum()
    assert sums.labelled.dtype == sums.correct.dtype == torch.long


def test_more_programs_than_finish_adds_at_a_time(monkeypatch):
    logits, label = small()
    expected = cross_entropy_sums(logits, label, backend='triton')
    monkeypatch.setattr(triton, '_PROGRAMS_BLOCK', 2)
    assert cross_entropy_sums(logits, label, backend='triton') == expected


@pytest.mark.parametrize('magnitude', [1e-30, 1e3, 1e30])
def test_any_magnitude(magnitude):
    logits, label = small()
    logits = logits * magnitude
    expected = value_and_gradient(literal, logits, label, torch.float64)
    literals = errors(value_and_gradient(literal, logits, label), expected)
    for error, other in zip(errors(run(logits, label), expected), literals):
        assert error < max(1e-6, 4 * other)


@pytest.mark.parametrize('value', [float('inf'), float('nan')])
def test_logits_that_are_not_finite(value):
    logits, label = small()
    for all_ignored in (False, True):
        if all_ignored:
            label = torch.full_like(label, IGNORED)
        logits[0, 1, 1, 2] = value
        loss, grad = run(logits, label)
        assert (loss == 0 and not grad.any()) if all_ignored else loss.isnan()


@pytest.mark.parametrize(('wrong', 'use_sigmoid'), [(5, False), (-1, True), (2**32 + 1, False)])
def test_labels_that_are_no_class_give_nan(wrong, use_sigmoid):
    logits, label = small(5, (2, 3, 3, 7))
    label[0, 1, 1] = wrong
    sums = cross_entropy_sums(logits, label, use_sigmoid=use_sigmoid, backend='triton')
    assert sums.total.isnan() and sums.labelled == (label != IGNORED).sum()


@pytest.mark.parametrize('shape', [(0, 4, 3, 3), (2, 4, 3, 3)])
def test_nothing_to_label(shape):
    label = torch.zeros(shape[0], 0, 5, dtype=torch.long)
    loss, grad = run(torch.ones(shape), label)
    assert loss == 0 and grad.shape == shape and not grad.any()


def test_second_derivatives():
    logits, label = small(3, (2, 2, 3, 5))
    logits.requires_grad_()
    found = []
    for function in (lambda *t: upsampled_cross_entropy(*t, backend='triton'), literal):
        (grad,) = torch.autograd.grad(function(logits, label), logits, create_graph=True)
        found.append(torch.autograd.grad(grad.square().sum(), logits)[0])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_double_precision_is_refused():
    logits, label = small()
    with pytest.raises(ValueError, match=r"'triton' cannot be used: it computes in single"):
        run(logits.double(), label)


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('longest', sorted({variant.longest for variant in VARIANTS}))
def test_column_tiles_hold_what_their_columns_touch(longest, align_corners):
    for width, label_width in ((60, 480), (60, 473), (97, 769), (13, 100), (30, 60), (50, 20)):
        tile = column_tile(width, label_width, align_corners, longest)
        assert 1 <= tile.columns <= tile.padded <= 16
        start = triton.neighbours(
            width, label_width, align_corners, torch.int32, torch.device('cpu')
        ).start.tolist()
        for first in range(0, width, tile.columns):
            last = min(first + tile.columns, width)
            assert start[last] - start[max(first - 1, 0)] <= tile.block
