"""Several processes that share a batch give the same training and metrics as one process."""

from __future__ import annotations

from whole_and_parts import (
    AVERAGE_OF_AVERAGES,
    ITERATIONS,
    draw_images,
    evaluate,
    largest_difference,
    train,
)


def test_two_halves_of_the_batch_train_as_the_whole(tmp_path):
    data = draw_images(tmp_path / 'data')
    (whole,) = train('EncNet', data, tmp_path / 'whole', 1)
    assert set(whole.losses) == {
        f'train/{name}' for name in ('loss', 'decode.loss_ce', 'decode.loss_se', 'aux.loss_ce')
    }
    assert all(len(values) == ITERATIONS for values in whole.losses.values())
    # Each process logs the losses of the whole batch, so any of them can write the log.
    for part in train('EncNet', data, tmp_path / 'parts', 2):
        assert max(largest_difference(whole, part)) < 1e-10

    # The toolbox's loss on the same data differs; otherwise the test would not be sensitive.
    part, _ = train('EncNet', data, tmp_path / 'toolbox', 2, AVERAGE_OF_AVERAGES)
    difference = largest_difference(whole, part)
    assert difference.weights > 1e-4 and difference.losses > 1e-2


def test_any_number_of_processes_measures_the_same(tmp_path):
    (alone,) = evaluate(tmp_path / '1', 1, 7)
    assert alone['order/images'] == list(range(7))
    assert {'mIoU', 'aAcc', 'twinAcc'} <= set(alone)
    for world_size in (2, 3):
        for metrics in evaluate(tmp_path / str(world_size), world_size, 7):
            assert metrics == alone
