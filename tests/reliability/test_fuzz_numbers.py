"""Any label map and feature map gives finite results."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fuzzing import cases
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from mmengine.structures import PixelData
from mmseg.registry import METRICS, MODELS
from mmseg.structures import SegDataSample

from mmseg_encnet.ops import assign, cross_entropy_sums, encode, presence_targets
from mmseg_encnet.ops.upsampled_cross_entropy import BACKENDS

DTYPES = [np.uint8, np.int8, np.int16, np.int32, np.int64, np.uint16, np.uint32, np.bool_]
IGNORE = 255


@st.composite
def label_maps(draw: st.DrawFn) -> torch.Tensor:
    """Draw labels ``(B, H, W)`` of any integer dtype, value and size, including 0."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 9)))
    if dtype is np.bool_:
        values = st.booleans()
    else:
        bounds = np.iinfo(dtype)
        values = st.one_of(
            st.integers(0, min(25, bounds.max)),
            st.just(min(IGNORE, bounds.max)),
            st.integers(int(bounds.min), int(bounds.max)),
        )
    return torch.from_numpy(draw(npst.arrays(dtype, shape, elements=values)))


@cases(70)
@given(label_maps(), st.integers(1, 260))
def test_presence_of_any_label_map(labels, num_classes):
    present = presence_targets(labels, num_classes)
    assert present.shape == (len(labels), num_classes)
    for row, label in zip(present, labels.numpy()):
        values = np.unique(label.astype(np.int64))
        expected = values[(values >= 0) & (values < num_classes)]
        np.testing.assert_array_equal(np.flatnonzero(row.numpy()), expected)


def magnitudes(smallest: int, largest: int) -> st.SearchStrategy[float]:
    """Return a strategy for zero and for powers of ten between two exponents."""
    return st.one_of(st.just(0.0), st.floats(smallest, largest).map(lambda e: 10.0**e))


def with_rounded_distances(
    inputs: list[torch.Tensor], grad: torch.Tensor, eps: float
) -> list[torch.Tensor]:
    """Evaluate the equations in double precision, with distances off by the bound of `dense`."""
    x, codewords, scale = (tensor.double().requires_grad_() for tensor in inputs)
    residuals = x[:, None] - codewords[None, :, :, None]
    centre = codewords.detach().mean(dim=0)
    norms = (x.detach() - centre[:, None]).norm(dim=1)[:, None]
    norms = norms + (codewords.detach() - centre).norm(dim=1)[None, :, None]
    distances = residuals.square().sum(dim=2)
    distances = distances + 4 * eps * norms.square() * torch.empty_like(distances).uniform_(-1, 1)
    weights = (scale[None, :, None] * distances).softmax(dim=1)
    encoded = (weights[:, :, None] * residuals).sum(dim=3)
    tensors = x, codewords, scale
    return [encoded.detach(), *torch.autograd.grad(encoded, tensors, grad.to(encoded))]


@cases(200)
@given(st.data())
def test_encoding_of_any_features(data):
    """Results are within the documented bound, from denormal numbers to overflow."""
    batch, positions = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 40))
    channels, codes = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 40))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float32, torch.float64,
                                       torch.float16, torch.bfloat16]))  # fmt: skip
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    factor = data.draw(magnitudes(-42, 18))
    factors = [
        factor,
        data.draw(st.one_of(st.just(factor), magnitudes(-42, 18))),
        data.draw(magnitudes(-6, 3)) * data.draw(st.sampled_from([-1, 1])),
    ]
    limit = torch.finfo(dtype).max / 4
    inputs = [
        (torch.randn(shape, generator=generator, dtype=torch.float64) * factor)
        .clamp(-limit, limit)
        .to(dtype)
        for shape, factor in zip(
            [(batch, channels, positions), (codes, channels), (codes,)], factors
        )
    ]
    # All of one sign, like the smoothing factors of a network.
    inputs[2] = inputs[2].abs() * (1 if factors[2] > 0 else -1)
    grad = torch.randn(batch, codes, channels, generator=generator).to(dtype)

    def run(dtype: torch.dtype, backend: str) -> list[torch.Tensor]:
        tensors = [tensor.to(dtype).requires_grad_() for tensor in inputs]
        encoded = encode(*tensors, backend=backend)
        return [encoded.detach(), *torch.autograd.grad(encoded, tensors, grad.to(encoded))]

    found, exact = run(dtype, 'auto'), run(torch.float64, 'dense')
    compute = torch.promote_types(dtype, torch.float32)
    rounded = [run(compute, 'reference')]
    rounded += [with_rounded_distances(inputs, grad, torch.finfo(compute).eps) for _ in range(4)]
    # Half precision rounds the result; double precision is its own reference.
    relative = 1e-5 if dtype is torch.float32 else 2**-7 if compute is torch.float32 else 1e-8
    for result, value, *others in zip(found, exact, *rounded):
        if not value.numel():
            continue
        largest = value.abs().max().item()
        if largest > limit:
            assert not result.isnan().any() or not value.isfinite().all()
            continue
        error = (result.double() - value).abs().max().item()
        differences = [(other.double() - value).abs().max().item() for other in others]
        allowed = max(filter(math.isfinite, differences), default=0.0)
        bound = max(relative * largest, 10 * allowed)
        assert error <= bound + value.numel() * torch.finfo(dtype).tiny, (error, largest, allowed)
    if dtype is torch.float32 and all(tensor.isfinite().all() for tensor in found):
        weights = assign(*inputs)
        if weights.isfinite().all():
            torch.testing.assert_close(weights.sum(dim=1), torch.ones_like(weights[:, 0]))


WRONG_SHAPES = st.lists(st.integers(0, 4), min_size=0, max_size=5).map(tuple)


@cases(20)
@given(WRONG_SHAPES, WRONG_SHAPES, WRONG_SHAPES, st.sampled_from([torch.float32, torch.int64]))
def test_encoding_refuses_shapes_that_do_not_fit(x, codewords, scale, dtype):
    try:
        encoded = encode(torch.zeros(x, dtype=dtype), torch.zeros(codewords), torch.zeros(scale))
    except ValueError as error:
        assert 'expected' in str(error)
    else:
        assert encoded.shape == (x[0], *codewords)


@cases(60)
@given(st.data())
def test_loss_of_any_logits(data):
    """Every backend is as close to double precision as PyTorch's own functions."""
    batch, classes = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 40))
    side = st.integers(1, 12)
    size, label_size = data.draw(st.tuples(side, side)), data.draw(st.tuples(side, side))
    dtype = data.draw(
        st.sampled_from(
            [torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16]
        )
    )
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    factor = data.draw(magnitudes(-42, 30))
    use_sigmoid = data.draw(st.booleans())
    several = classes > 1
    options = dict(
        align_corners=data.draw(st.booleans()),
        ignore_index=data.draw(st.sampled_from([IGNORE, 0, -1])),
        use_sigmoid=use_sigmoid,
        label_smoothing=0.0
        if use_sigmoid and several
        else data.draw(st.sampled_from([0.0, 0.1, 1.0])),
    )
    labels = 2 if use_sigmoid and not several else classes
    if data.draw(st.booleans()):
        options['class_weight'] = torch.rand(labels, generator=generator)
    if data.draw(st.booleans()):
        options['pixel_weight'] = torch.rand(batch, *label_size, generator=generator)
    label = torch.randint(labels, (batch, *label_size), generator=generator)
    ignored = torch.rand(label.shape, generator=generator)
    label[ignored < data.draw(st.sampled_from([0.0, 0.3, 1.1]))] = options['ignore_index']
    logits = torch.randn(batch, classes, *size, generator=generator, dtype=torch.float64) * factor
    limit = torch.finfo(dtype).max / 4
    logits = logits.clamp(-limit, limit).to(dtype)

    def run(dtype: torch.dtype, backend: str) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = logits.to(dtype).requires_grad_()
        sums = cross_entropy_sums(leaf, label, backend=backend, **options)
        assert sums.labelled == (label != options['ignore_index']).sum()
        return sums.total.detach(), torch.autograd.grad(sums.total, leaf)[0]

    exact = run(torch.float64, 'reference')
    compute = torch.promote_types(dtype, torch.float32)
    literal = run(compute, 'reference')
    backends = [name for name in ('native', 'strips') if BACKENDS[name].refusal(logits) is None]
    for backend in backends:
        found = run(dtype, backend)
        assert found[1].dtype == dtype
        for result, value, other in zip(found, exact, literal):
            largest = value.abs().max().item()
            error = (result.double() - value).abs().max().item()
            bound = max(2e-6 * largest, 8 * (other.double() - value).abs().max().item())
            # Half precision rounds the gradient, a difference of terms of the size of 1 a pixel.
            bound += torch.finfo(result.dtype).eps * largest + torch.finfo(result.dtype).tiny
            bound += torch.finfo(compute).eps * label.numel()
            assert error <= bound, (backend, error, largest, bound)


@cases(20)
@given(WRONG_SHAPES, WRONG_SHAPES, WRONG_SHAPES, st.sampled_from([torch.int64, torch.float32]))
def test_loss_refuses_shapes_that_do_not_fit(logits, label, weight, dtype):
    try:
        sums = cross_entropy_sums(
            torch.zeros(logits), torch.zeros(label, dtype=dtype), class_weight=torch.zeros(weight)
        )
    except ValueError as error:
        assert 'expected' in str(error)
    else:
        assert sums.total == 0 and sums.labelled == math.prod(label)


@cases(40)
@given(st.data())
def test_losses_of_any_label_map(data):
    num_classes = data.draw(st.sampled_from([1, 2, 3, 21, 150]))
    channels, codes = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 9))
    batch = data.draw(st.integers(1, 2))
    size = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    kind = data.draw(st.sampled_from(['any', 'all ignored', 'one pixel']))
    torch.manual_seed(0)
    head = MODELS.build(
        dict(
            type='EncodingHead',
            in_channels=[6, channels],
            in_index=[0, 1],
            channels=channels,
            num_codes=codes,
            num_classes=num_classes,
            use_se_loss=data.draw(st.booleans()),
            add_lateral=data.draw(st.booleans()),
            dropout_ratio=0.1,
            norm_cfg=data.draw(st.sampled_from([dict(type='BN'), dict(type='GN', num_groups=1)])),
            loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
        )
    )
    samples = []
    for _ in range(batch):
        label = torch.full((1, *size), IGNORE)
        if kind == 'any':
            label = torch.randint(num_classes, (1, *size))
            label[torch.rand(label.shape) < 0.3] = IGNORE
        elif kind == 'one pixel':
            label[0, 0, 0] = num_classes - 1
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
        sample.gt_sem_seg = PixelData(data=label)
        samples.append(sample)
    side = [-(-length // 8) for length in size]
    maps = [torch.randn(batch, width, *side, requires_grad=True) for width in (6, channels)]
    try:
        losses = head.loss(maps, samples, train_cfg=None)
    except ValueError as error:
        # A single value has no standard deviation.
        assert 'more than 1 value per channel' in str(error)
        assert batch * side[0] * side[1] == 1 or batch * channels == 1
        return
    total = sum(value for key, value in losses.items() if 'loss' in key)
    assert total.isfinite()
    if all((sample.gt_sem_seg.data == IGNORE).all() for sample in samples):
        assert total == 0
    total.backward()
    for tensor in [*maps, *head.parameters()]:
        assert tensor.grad is None or tensor.grad.isfinite().all()


@pytest.mark.filterwarnings('ignore')
@cases(30)
@given(st.data())
def test_metrics_of_any_prediction(data):
    num_classes = data.draw(st.integers(2, 12))
    size = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    metrics = [METRICS.build(dict(type=kind)) for kind in ('PresenceMetric', 'ContextConsistency')]
    samples = []
    for _ in range(data.draw(st.integers(1, 3))):
        label = torch.randint(num_classes, (1, *size), generator=generator)
        label[
            torch.rand(label.shape, generator=generator)
            < data.draw(st.sampled_from([0.0, 0.5, 1.1]))
        ] = IGNORE
        factor = data.draw(st.sampled_from([0.0, 1.0, 1e3]))
        samples.append(
            dict(
                gt_sem_seg=dict(data=label),
                seg_logits=dict(data=factor * torch.randn(num_classes, *size, generator=generator)),
                presence=torch.sigmoid(factor * torch.randn(num_classes, generator=generator)),
            )
        )
    for metric in metrics:
        metric.dataset_meta = dict(classes=tuple(map(str, range(num_classes))))
        metric.process({}, samples)
        for name, value in metric.evaluate(size=len(samples)).items():
            # An empty batch has no mean.
            assert np.isnan(value) or 0 <= value <= 100, name
