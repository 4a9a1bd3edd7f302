"""The losses of a batch split over processes equal those of the whole batch."""

from __future__ import annotations

import pytest
import torch
from mmseg.registry import MODELS
from process_group import in_process_group
from torch import Tensor, distributed

from mmseg_encnet.errors import UserError

NUM_CLASSES = 4
IGNORED = 255
WEIGHTS = [0.5, 2.0, 1.0, 3.0]
LOSSES = {
    'plain': dict(),
    'weighted': dict(loss_weight=0.4),
    'class weights': dict(class_weight=WEIGHTS),
    'binary, a logit a class': dict(use_sigmoid=True),
    'binary, a logit a class, class weights': dict(use_sigmoid=True, class_weight=WEIGHTS),
    'binary, one logit': dict(use_sigmoid=True, loss_weight=0.4),
}
# Labelled share of the pixels of each image.
SHARES = {
    'uneven': [1.0, 0.9, 0.2, 0.05],
    'nothing in one process': [0.7, 0.3, 0.0, 0.0],
    'nothing at all': [0.0, 0.0, 0.0, 0.0],
}


def batch(name: str, shares: list[float], dtype: torch.dtype = torch.float64) -> tuple:
    generator = torch.Generator().manual_seed(0)
    channels = 1 if name.endswith('one logit') else NUM_CLASSES
    logits = torch.randn(4, channels, 6, 5, generator=generator).to(dtype)
    labels = torch.randint(2 if channels == 1 else NUM_CLASSES, (4, 6, 5), generator=generator)
    pixel_weight = torch.rand(4, 6, 5, generator=generator).to(dtype)
    drawn = torch.rand(4, 6, 5, generator=generator)
    labels[drawn >= torch.tensor(shares)[:, None, None]] = IGNORED
    return logits, labels, pixel_weight


def value_and_gradient(loss: torch.nn.Module, logits: Tensor, *args, **kwargs) -> tuple:
    logits = logits.clone().requires_grad_()
    value = loss(logits, *args, **kwargs)
    value.backward()
    return value.detach(), logits.grad


def part_of(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    rank = distributed.get_rank()
    half = len(batch[0]) // distributed.get_world_size()
    return tuple(value[rank * half : (rank + 1) * half] for value in batch)


def build(name: str, **options) -> torch.nn.Module:
    return MODELS.build(dict(LOSSES[name], type='SyncCrossEntropyLoss', **options))


def presence_batch(shares: list[float]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    presence = torch.ones(4, NUM_CLASSES) * (torch.tensor(shares) > 0.1)[:, None]
    return torch.randn(4, NUM_CLASSES, generator=generator).double(), presence


def halves_of_all_batches() -> dict:
    """Return value and gradient of this process's half for every case."""
    found = {}
    for case, shares in SHARES.items():
        for name in LOSSES:
            for weighted in (False, True):
                part = part_of(batch(name, shares))
                found[case, name, weighted] = value_and_gradient(
                    build(name), *part[: 2 + weighted], ignore_index=IGNORED
                )
        part = part_of(presence_batch(shares))
        found[case, 'presence', False] = value_and_gradient(
            MODELS.build(dict(type='SemanticEncodingLoss')), *part
        )
    return {key: tuple(tensor.tolist() for tensor in pair) for key, pair in found.items()}


def test_two_halves_are_the_whole():
    halves = in_process_group(2, halves_of_all_batches)
    for case, name, weighted in halves[0]:
        if name == 'presence':
            whole = value_and_gradient(
                MODELS.build(dict(type='SemanticEncodingLoss')), *presence_batch(SHARES[case])
            )
        else:
            whole = value_and_gradient(
                build(name), *batch(name, SHARES[case])[: 2 + weighted], ignore_index=IGNORED
            )
        values, gradients = zip(*(half[case, name, weighted] for half in halves))
        key = f'{case}, {name}, weighted pixels: {weighted}'
        # The toolbox computes binary cross-entropy in single precision.
        tolerance = 1e-6 if name.startswith('binary') else 1e-12
        for value in values:
            # Each process reports the loss of the whole batch.
            assert value == pytest.approx(whole[0].item(), rel=tolerance), key
        # DistributedDataParallel divides by the number of processes.
        gradient = torch.cat([torch.tensor(half, dtype=torch.float64) for half in gradients]) / 2
        torch.testing.assert_close(
            gradient, whole[1], rtol=tolerance, atol=tolerance * 1e-3, msg=key
        )
        if case == 'nothing at all':
            assert values == (0, 0) and not gradient.any(), key


def means_of_each_process() -> dict:
    """Return value and gradient of this process's half with the average of each process."""
    found = {}
    for case, shares in SHARES.items():
        for name in LOSSES:
            part = part_of(batch(name, shares))
            loss = build(name, average='process')
            found[case, name] = value_and_gradient(loss, *part[:2], ignore_index=IGNORED)
    return {key: tuple(tensor.tolist() for tensor in pair) for key, pair in found.items()}


def test_average_of_each_process_is_that_of_a_single_process_with_its_half():
    for rank, half in enumerate(in_process_group(2, means_of_each_process)):
        for (case, name), (value, gradient) in half.items():
            part = [tensor[2 * rank : 2 * rank + 2] for tensor in batch(name, SHARES[case])[:2]]
            expected = value_and_gradient(build(name), *part, ignore_index=IGNORED)
            assert value == expected[0].item(), (case, name)
            assert gradient == expected[1].tolist(), (case, name)


def test_average_of_each_process_is_the_original_mean_of_means():
    """PyTorch-Encoding: the mean over each GPU's labelled pixels, averaged over the GPUs."""
    logits, labels, _ = batch('plain', SHARES['uneven'])
    logits.requires_grad_()
    means = [
        torch.nn.functional.cross_entropy(logits[half], labels[half], ignore_index=IGNORED)
        for half in (slice(0, 2), slice(2, 4))
    ]
    (sum(means) / 2).backward()
    halves = in_process_group(2, means_of_each_process)
    values, gradients = zip(*(half['uneven', 'plain'] for half in halves))
    assert sum(values) / 2 == pytest.approx((sum(means) / 2).item(), rel=1e-6)
    # DistributedDataParallel divides by the number of processes.
    gradient = torch.cat([torch.tensor(half, dtype=torch.float64) for half in gradients]) / 2
    torch.testing.assert_close(gradient, logits.grad, rtol=1e-6, atol=1e-9)
    # Not the mean over all labelled pixels, because the halves have different numbers of them.
    whole = value_and_gradient(build('plain'), logits.detach(), labels, ignore_index=IGNORED)
    assert sum(values) / 2 != pytest.approx(whole[0].item(), rel=1e-3)


@pytest.mark.parametrize('average', ['all', 'process'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('shares', SHARES)
@pytest.mark.parametrize('name', LOSSES)
def test_one_process_computes_what_the_toolbox_does(name, shares, dtype, average):
    logits, labels, pixel_weight = batch(name, SHARES[shares], dtype)
    if shares == 'nothing at all':
        # The toolbox's binary cross-entropy fails without labels.
        value, gradient = value_and_gradient(
            build(name, average=average), logits, labels, ignore_index=IGNORED
        )
        assert value == 0 and not gradient.any()
        return
    # With class weights avg_non_ignore fails on ignored pixels and makes no difference.
    non_ignore = name != 'class weights'
    toolbox = MODELS.build(dict(LOSSES[name], type='CrossEntropyLoss', avg_non_ignore=non_ignore))
    if toolbox.use_sigmoid and toolbox.class_weight:
        # In the form that it broadcasts along the classes.
        toolbox.class_weight = [[[weight]] for weight in toolbox.class_weight]
    for weight in ((), (pixel_weight,)):
        ours, theirs = (
            value_and_gradient(loss, logits, labels, *weight, ignore_index=IGNORED)
            for loss in (build(name, average=average), toolbox)
        )
        # The toolbox computes binary cross-entropy in single precision.
        single = dtype == torch.float32 or name.startswith('binary')
        tolerance = dict(rtol=1e-5 if single else 1e-12, atol=1e-7 if single else 1e-14)
        for value, expected in zip(ours, theirs):
            torch.testing.assert_close(value, expected, **tolerance, check_dtype=False)


@pytest.mark.parametrize('value', [float('inf'), float('nan')])
def test_without_labels_the_logits_do_not_matter(value):
    logits = torch.full((1, 1, 2, 2), value, dtype=torch.float16)
    labels = torch.full((1, 2, 2), IGNORED)
    loss, gradient = value_and_gradient(
        build('binary, one logit'), logits, labels, ignore_index=IGNORED
    )
    assert loss == 0 and not gradient.any()


def test_the_loss_is_named_as_configured():
    loss = MODELS.build(dict(type='SyncCrossEntropyLoss', loss_name='loss_sync'))
    assert loss.loss_name == 'loss_sync'
    with pytest.raises(TypeError, match='avg_non_ignore'):
        MODELS.build(dict(type='SyncCrossEntropyLoss', avg_non_ignore=False))


def test_an_unknown_average_is_named():
    with pytest.raises(UserError, match="unknown average 'gpu'; choose one of all, process"):
        build('plain', average='gpu')
