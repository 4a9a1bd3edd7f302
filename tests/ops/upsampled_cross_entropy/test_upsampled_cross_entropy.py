"""Every backend of the loss against resizing and PyTorch's cross-entropy."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmseg_encnet.errors import UserError
from mmseg_encnet.nn import UpsampledCrossEntropy
from mmseg_encnet.ops import cross_entropy_sums, upsampled_cross_entropy
from mmseg_encnet.ops.upsampled_cross_entropy import BACKENDS, native
from mmseg_encnet.ops.upsampled_cross_entropy.backends import AUTOMATIC

IGNORED = 255
built = pytest.mark.skipif(
    BACKENDS['native'].refusal() is not None, reason='needs the kernels that a C++ compiler builds'
)
INSTRUCTIONS = [f'native {name}' for name in native.INSTRUCTION_SETS]
SIZES = {
    'eight times': (5, 7, 40, 56),
    'any': (9, 4, 37, 30),
    'down': (20, 17, 9, 5),
    'down and up': (3, 30, 20, 11),
    'as they are': (6, 8, 6, 8),
    'one position': (1, 1, 5, 4),
    'one label': (4, 3, 1, 1),
}
OPTIONS = {
    'plain': dict(),
    'class weights': dict(class_weight=True),
    'pixel weights': dict(pixel_weight=True),
    'smoothing': dict(label_smoothing=0.1),
    'all': dict(class_weight=True, pixel_weight=True, label_smoothing=0.3),
    'ignored class': dict(ignore_index=2),
}


@pytest.fixture(params=[*INSTRUCTIONS, 'strips', 'reference'])
def backend(request, monkeypatch):
    name, _, instructions = request.param.partition(' ')
    if instructions:
        index = native.INSTRUCTION_SETS[instructions]
        monkeypatch.setattr(native, 'INSTRUCTION_SETS', {instructions: index})
    return name


def problem(classes=6, height=5, width=7, label_height=40, label_width=56, batch=2, ignored=0.2):
    """Return logits and labels, of which a share is ignored."""
    generator = torch.Generator().manual_seed(classes + height)
    logits = torch.randn(batch, classes, height, width, generator=generator) * 3
    size = batch, label_height, label_width
    label = torch.randint(classes, size, generator=generator)
    return logits, label.masked_fill(torch.rand(size, generator=generator) < ignored, IGNORED)


def weights(label, class_weight=False, pixel_weight=False, classes=6, **options):
    generator = torch.Generator().manual_seed(1)
    if class_weight:
        options['class_weight'] = torch.rand(classes, generator=generator) + 0.1
    if pixel_weight:
        options['pixel_weight'] = torch.rand(label.shape, generator=generator)
    return options


def ignored_by_option(label, name):
    """Return labels whose ignored pixels have the label that the option ignores."""
    return label.masked_fill(label == IGNORED, OPTIONS[name].get('ignore_index', IGNORED))


def literal(logits, label, align_corners=False, ignore_index=IGNORED, **options):
    """Return the mean as users of PyTorch write it."""
    pixel_weight = options.pop('pixel_weight', None)
    class_weight = options.pop('class_weight', None)
    class_weight = None if class_weight is None else class_weight.to(logits)
    resized = F.interpolate(
        logits, size=label.shape[1:], mode='bilinear', align_corners=align_corners
    )
    options.update(weight=class_weight, ignore_index=ignore_index)
    if pixel_weight is None:
        return F.cross_entropy(resized, label, **options)
    loss = F.cross_entropy(resized, label, reduction='none', **options) * pixel_weight
    labelled = label != ignore_index
    divisor = labelled.sum() if class_weight is None else class_weight[label[labelled]].sum()
    return loss.sum() / divisor


def value_and_gradient(function, logits, label, dtype=None, **options):
    logits = logits.detach().to(logits.dtype if dtype is None else dtype).requires_grad_()
    loss = function(logits, label, **options)
    return loss.detach(), torch.autograd.grad(loss, logits)[0]


def errors(results, expected):
    return [
        ((a.double() - b).abs().max() / b.abs().max().clamp_min(1e-30)).item()
        for a, b in zip(results, expected)
    ]


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('size', SIZES)
def test_any_size(backend, size, align_corners):
    logits, label = problem(6, *SIZES[size])
    # One label may be ignored by chance.
    label[:, 0, 0] = 3
    options = dict(align_corners=align_corners)
    expected = value_and_gradient(literal, logits, label, torch.float64, **options)
    single = value_and_gradient(literal, logits, label, **options)
    ours = value_and_gradient(upsampled_cross_entropy, logits, label, backend=backend, **options)
    assert ours[1].dtype == torch.float32 and ours[1].shape == logits.shape
    for error, other in zip(errors(ours, expected), errors(single, expected)):
        assert error < max(1e-6, 2 * other)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('name', OPTIONS)
def test_any_option(backend, name, dtype):
    if backend == 'native' and dtype == torch.float64:
        pytest.skip('the kernel computes in single precision')
    logits, label = problem()
    logits = logits.to(dtype)
    if 'class' in name:
        logits = logits.to(memory_format=torch.channels_last)
    options = weights(label, **OPTIONS[name])
    label = ignored_by_option(label, name)
    expected = value_and_gradient(literal, logits, label, torch.float64, **options)
    ours = value_and_gradient(upsampled_cross_entropy, logits, label, backend=backend, **options)
    assert ours[0].dtype == torch.promote_types(dtype, torch.float32) and ours[1].dtype == dtype
    # Weights are drawn in single precision.
    loss_bound = (
        1e-13 if dtype == torch.float64 and 'weight' not in name and name != 'all' else 1e-6
    )
    loss_error, grad_error = errors(ours, expected)
    assert loss_error < loss_bound
    assert grad_error < (max(loss_bound, torch.finfo(dtype).eps))


@pytest.mark.parametrize('classes', [1, 2, 15, 16, 17, 150])
def test_any_number_of_classes(backend, classes):
    logits, label = problem(classes)
    expected = value_and_gradient(literal, logits, label, torch.float64)
    ours = value_and_gradient(upsampled_cross_entropy, logits, label, backend=backend)
    assert all(error < 1e-6 for error in errors(ours, expected))


@pytest.mark.parametrize('smoothing', [0.0, 0.2])
def test_one_score(backend, smoothing):
    logits, label = problem(2)
    score = logits[:, 1:] - logits[:, :1]
    options = dict(label_smoothing=smoothing, class_weight=torch.tensor([0.5, 2.0]))
    expected = value_and_gradient(
        lambda x, label, **options: literal(
            torch.cat([torch.zeros_like(x), x], dim=1), label, **options
        ),
        score, label, torch.float64, **options,
    )  # fmt: skip
    ours = value_and_gradient(
        upsampled_cross_entropy, score, label, use_sigmoid=True, backend=backend, **options
    )
    assert all(error < 1e-6 for error in errors(ours, expected))
    if not smoothing:
        labelled = label != IGNORED
        resized = F.interpolate(score, size=label.shape[1:], mode='bilinear')[:, 0]
        binary = F.binary_cross_entropy_with_logits(resized[labelled], label[labelled].float())
        ours = upsampled_cross_entropy(score, label, use_sigmoid=True, backend=backend)
        torch.testing.assert_close(ours, binary)


def decisions(logits, label, pixel_weight=None, class_weight=None):
    """Return the mean binary cross-entropy, with one decision for each class."""
    resized = F.interpolate(logits, size=label.shape[1:], mode='bilinear')
    labelled = label != IGNORED
    present = torch.stack([label == c for c in range(logits.shape[1])], dim=1).to(logits)
    if class_weight is not None:
        class_weight = class_weight.to(logits)[:, None, None]
    loss = F.binary_cross_entropy_with_logits(
        resized, present, pos_weight=class_weight, reduction='none'
    ).sum(dim=1)
    if pixel_weight is not None:
        loss = loss * pixel_weight
    return loss[labelled].sum() / (labelled.sum() * logits.shape[1])


@pytest.mark.parametrize('classes', [2, 6, 17])
@pytest.mark.parametrize('magnitude', [1.0, 1e-3, 30.0])
def test_several_scores(backend, classes, magnitude):
    logits, label = problem(classes)
    options = weights(label, class_weight=magnitude != 1, pixel_weight=magnitude < 1,
                      classes=classes)  # fmt: skip
    expected = value_and_gradient(decisions, logits * magnitude, label, torch.float64, **options)
    ours = value_and_gradient(
        upsampled_cross_entropy, logits * magnitude, label, use_sigmoid=True, backend=backend,
        **options,
    )  # fmt: skip
    # Rounding of the interpolated logits counts in full.
    assert all(error < 1e-6 * max(1, magnitude / 10) for error in errors(ours, expected))
    sums = cross_entropy_sums(logits, label, use_sigmoid=True, backend=backend)
    labelled = label != IGNORED
    assert sums.labelled == labelled.sum() and sums.divisor == labelled.sum() * classes
    resized = F.interpolate(logits, size=label.shape[1:], mode='bilinear')
    assert sums.correct == ((resized.argmax(dim=1) == label) & labelled).sum()


def test_confident_decisions_keep_their_digits(backend):
    """The loss of a decision with logit 20 is 2e-9."""
    if backend == 'reference':
        pytest.skip('the function of PyTorch loses them')
    label = torch.arange(3).reshape(1, 1, 3)
    logits = 20.0 * (2 * torch.eye(3)[None, :, None] - 1)
    logits = logits.repeat_interleave(2, dim=3)
    label = label.repeat_interleave(4, dim=2)
    expected = value_and_gradient(decisions, logits, label, torch.float64)
    ours = value_and_gradient(
        upsampled_cross_entropy, logits, label, use_sigmoid=True, backend=backend
    )
    assert all(error < 1e-5 for error in errors(ours, expected))


def test_sums_and_accuracy(backend):
    logits, label = problem()
    options = weights(label, class_weight=True)
    sums = cross_entropy_sums(logits, label, backend=backend, **options)
    labelled = label != IGNORED
    resized = F.interpolate(logits, size=label.shape[1:], mode='bilinear')
    assert sums.labelled == labelled.sum()
    assert sums.correct == ((resized.argmax(dim=1) == label) & labelled).sum()
    torch.testing.assert_close(sums.divisor, options['class_weight'][label[labelled]].sum())
    assert torch.equal(
        sums.total / sums.divisor,
        upsampled_cross_entropy(logits, label, backend=backend, **options),
    )


@pytest.mark.parametrize('value', [1.0, float('inf'), float('nan')])
def test_without_labels_the_loss_is_zero(backend, value):
    if backend == 'reference' and value != 1.0:
        pytest.skip('the formula is NaN')
    logits, label = problem(ignored=1.1)
    results = value_and_gradient(upsampled_cross_entropy, logits * value, label, backend=backend)
    assert results[0] == 0 and not results[1].any()


@pytest.mark.parametrize('value', [float('inf'), float('nan')])
def test_logits_that_are_not_finite_are_not_hidden(backend, value):
    logits, label = problem(ignored=0)
    logits[0, 1, 2, 3] = value
    assert upsampled_cross_entropy(logits, label, backend=backend).isnan()


@pytest.mark.parametrize('magnitude', [1e-30, 1e-3, 1e3, 1e6, 1e30])
def test_any_magnitude(backend, magnitude):
    logits, label = problem()
    logits = logits * magnitude
    expected = value_and_gradient(literal, logits, label, torch.float64)
    literals = errors(value_and_gradient(literal, logits, label), expected)
    ours = value_and_gradient(upsampled_cross_entropy, logits, label, backend=backend)
    # Rounding of the interpolated logits counts in full in the softmax of large ones.
    for error, other in zip(errors(ours, expected), literals):
        assert error < max(1e-6, 4 * other)


@pytest.mark.parametrize('shape', [(0, 4, 3, 3), (2, 4, 3, 3)])
def test_nothing_to_label(backend, shape):
    label = torch.zeros(shape[0], 0, 5, dtype=torch.long)
    loss, grad = value_and_gradient(cross_entropy_of_nothing(backend), torch.ones(shape), label)
    assert loss == 0 and grad.shape == shape and not grad.any()


def cross_entropy_of_nothing(backend):
    # F.interpolate does not accept an empty batch or size.
    name = 'strips' if backend == 'reference' else backend
    return lambda *tensors: upsampled_cross_entropy(*tensors, backend=name)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int32])
def test_labels_of_any_integer_type(backend, dtype):
    logits, label = problem()
    expected = upsampled_cross_entropy(logits, label, backend=backend)
    assert torch.equal(upsampled_cross_entropy(logits, label.to(dtype), backend=backend), expected)


@pytest.mark.parametrize('use_sigmoid', [False, True])
@pytest.mark.parametrize('name', ['native', 'strips'])
def test_second_derivatives(name, use_sigmoid):
    logits, label = problem(3, 2, 3, 5, 6, batch=1)
    logits = logits.to(torch.float32 if name == 'native' else torch.float64).requires_grad_()
    found = []
    options = dict(backend=name, use_sigmoid=use_sigmoid)
    expected = decisions if use_sigmoid else literal
    for function in (lambda *t: upsampled_cross_entropy(*t, **options), expected):
        (grad,) = torch.autograd.grad(function(logits, label), logits, create_graph=True)
        found.append(torch.autograd.grad(grad.square().sum(), logits)[0])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('name', ['auto', 'strips'])
def test_meta_device_and_no_wait(name):
    """The meta device refuses everything that reads a value."""
    logits, label = problem()
    logits, label = logits.to('meta').requires_grad_(), label.to('meta')
    options = dict(class_weight=torch.ones(6), pixel_weight=torch.ones(label.shape))
    loss = upsampled_cross_entropy(logits, label, backend=name, label_smoothing=0.1, **options)
    assert loss.device.type == 'meta' and loss.shape == ()
    (grad,) = torch.autograd.grad(loss, logits)
    assert grad.shape == logits.shape and grad.device.type == 'meta'


@built
def test_the_kernel_gives_the_same_bits_with_any_number_of_threads():
    logits, label = problem(21, 9, 8, 60, 61)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(value_and_gradient(upsampled_cross_entropy, logits, label, backend='native'))
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others))


def test_only_the_gradient_is_kept():
    logits, label = problem()
    logits.requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        upsampled_cross_entropy(logits, label)
    sizes = {t.data_ptr(): t.numel() for t in kept}
    own = {logits.data_ptr(), label.data_ptr()}
    assert sum(size for pointer, size in sizes.items() if pointer not in own) < logits.numel() + 10
    with torch.no_grad():
        assert upsampled_cross_entropy(logits, label).grad_fn is None


def test_autocast_does_not_lower_the_precision(backend):
    logits, label = problem()
    expected = upsampled_cross_entropy(logits, label, backend=backend)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(upsampled_cross_entropy(logits, label, backend=backend), expected)


def test_compiles_and_traces():
    logits, label = problem()
    expected = upsampled_cross_entropy(logits, label)
    compiled = torch.compile(upsampled_cross_entropy, backend='aot_eager', fullgraph=True)
    ours = value_and_gradient(compiled, logits, label)
    torch.testing.assert_close(ours[0], expected)
    torch.testing.assert_close(ours, value_and_gradient(upsampled_cross_entropy, logits, label))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(logits=torch.zeros(2, 6, 35)), r'got logits of .* expected floating-point \(B, C, h'),
        (dict(label=torch.zeros(2, 40, 56)), 'got label of dtype torch.float32 .* pass class ind'),
        (dict(label=torch.zeros(3, 4, 4).long()), r'expected integers \(2, H, W\)'),
        (dict(class_weight=torch.ones(5)), r'got class_weight of shape \(5,\), expected \(6,\)'),
        (dict(pixel_weight=torch.ones(2, 4, 4)), 'pass one weight per pixel'),
        (dict(pixel_weight=torch.ones(2, 40, 56, requires_grad=True)), 'with a gradient'),
        (dict(label_smoothing=1.5), r'label_smoothing must lie in \[0, 1\], got 1.5'),
        (
            dict(use_sigmoid=True, label_smoothing=0.1),
            'got label_smoothing=0.1 with use_sigmoid and 6 scores, expected 0',
        ),
        (dict(logits=torch.zeros(2, 6, 0, 3)), 'at least one position'),
        (dict(backend='fast'), "unknown backend 'fast'; choose one of auto, native, strips"),
    ],
)
def test_mistakes_are_named(change, message):
    logits, label = problem()
    arguments = {**dict(logits=logits, label=label), **change}
    with pytest.raises(ValueError, match=message):
        upsampled_cross_entropy(**arguments)


@built
def test_labels_that_are_no_class_are_counted():
    logits, label = problem(ignored=0)
    label[0, :2, 0] = 6
    label[1, 3, 3] = -1
    with pytest.raises(IndexError, match='got 3 labels outside the 6 classes'):
        upsampled_cross_entropy(logits, label, backend='native')


@built
def test_a_backend_that_cannot_run_says_why():
    logits, label = problem()
    with pytest.raises(ValueError, match=r"'native' cannot be used: .*float64.*backend='strips'"):
        upsampled_cross_entropy(logits.double(), label, backend='native')


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
@pytest.mark.parametrize('backend', ['strips', 'triton', 'auto'])
@pytest.mark.parametrize('name', OPTIONS)
def test_on_a_gpu(name, backend, tmp_path, monkeypatch):
    # The choices of 'auto'.
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    logits, label = problem()
    options = weights(label, **OPTIONS[name])
    label = ignored_by_option(label, name)
    expected = value_and_gradient(literal, logits, label, torch.float64, **options)
    options = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    inputs = logits.cuda(), label.cuda()
    # Copies to the GPU wait for it, and so does the first call, which builds and chooses kernels.
    value_and_gradient(upsampled_cross_entropy, *inputs, backend=backend, **options)
    torch.cuda.set_sync_debug_mode('error')
    try:
        ours = value_and_gradient(upsampled_cross_entropy, *inputs, backend=backend, **options)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert all(error < 1e-6 for error in errors([t.cpu() for t in ours], expected))


def test_without_kernels_auto_takes_the_strips(monkeypatch):
    monkeypatch.setattr(native, 'INSTRUCTION_SETS', {})
    logits, label = problem()
    arguments = logits, label, None, None, False, IGNORED, 0.0, False
    assert AUTOMATIC.run_for(*arguments) is BACKENDS['strips'].run
    with pytest.raises(UserError, match='were not built'):
        BACKENDS.check('native')


def test_module():
    logits, label = problem()
    module = UpsampledCrossEntropy(class_weight=[1, 2, 3, 4, 5, 6], label_smoothing=0.1)
    expected = upsampled_cross_entropy(
        logits, label, class_weight=torch.arange(1.0, 7), label_smoothing=0.1
    )
    assert torch.equal(module(logits, label), expected)
    assert not list(module.state_dict())
    assert 'label_smoothing=0.1' in repr(module)
