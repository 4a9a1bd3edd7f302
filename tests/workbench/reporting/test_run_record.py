"""Reading run folders."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.reporting.run_record import Curve, RunRecord, read_run


def train(step: int, loss: float, **more) -> dict:
    return dict(lr=0.1, loss=loss, time=0.5, step=step, iter=step, **more)


def val(step: int, miou: float) -> dict:
    return dict(mIoU=miou, time=9.0, data_time=0.1, step=step)


def session(folder: Path, name: str, records: list[dict], tail: str = '') -> None:
    place = folder / name / 'vis_data'
    place.mkdir(parents=True)
    lines = ''.join(json.dumps(record) + '\n' for record in records)
    (place / f'{name}.json').write_text(lines + tail)
    (place / 'scalars.json').write_text(lines + tail)
    (place / 'config.py').write_text(f'session = {name!r}\n')


@pytest.mark.parametrize(
    'sessions, losses, mious',
    [
        # One session.
        ([[train(10, 3.0), train(20, 2.0), val(20, 40.0)]], {10: 3.0, 20: 2.0}, {20: 40.0}),
        # Killed at 45 and resumed from iteration 20: the second session replaces the first.
        (
            [
                [train(10, 3.0), train(20, 2.0), val(20, 40.0), train(30, 9.0), val(40, 1.0)],
                [train(30, 1.5), train(40, 1.0), val(40, 50.0)],
            ],
            {10: 3.0, 20: 2.0, 30: 1.5, 40: 1.0},
            {20: 40.0, 40: 50.0},
        ),
        # Restarted from scratch.
        ([[train(10, 3.0), train(20, 9.0)], [train(10, 2.5)]], {10: 2.5}, {}),
        # A session without records, and a separate validation.
        ([[train(10, 3.0)], [], [val(0, 33.0)]], {10: 3.0}, {}),
        # Epochs: validations log them as step.
        (
            [[train(5, 3.0, epoch=1), val(1, 20.0), train(10, 2.0, epoch=2), val(2, 30.0)]],
            {5: 3.0, 10: 2.0},
            {5: 20.0, 10: 30.0},
        ),
    ],
)
def test_starts_are_joined_by_iteration(sessions, losses, mious, tmp_path):
    for number, records in enumerate(sessions):
        session(tmp_path, f'2026010{number}_000000', records)
    run = read_run(tmp_path)
    assert dict(zip(run.training['loss'].steps, run.training['loss'].values)) == losses
    curve = run.validation.get('mIoU')
    assert (dict(zip(curve.steps, curve.values)) if curve else {}) == mious
    assert set(run.validation) <= {'mIoU'}
    assert run.iterations == max(losses | mious)
    assert run.seconds_per_iteration == 0.5
    assert run.training_memory is None


def test_line_of_a_killed_process_is_left_out(tmp_path):
    session(
        tmp_path,
        '20260101_000000',
        [train(10, 3.0, memory=200), train(20, math.nan)],
        tail='{"lr": 0.1, "los',
    )
    run = read_run(tmp_path)
    assert run.broken_lines == 1
    assert run.iterations == 20
    assert math.isnan(run.training['loss'].values[-1])
    run = read_run(tmp_path)
    session(tmp_path, '20260102_000000', [train(30, 1.0, memory=300)])
    assert read_run(tmp_path).training_memory == 300 * 2**20


def test_config_is_that_of_the_last_training(tmp_path):
    (tmp_path / 'config.py').write_text('session = "a test of the checkpoint"')
    session(tmp_path, '20260101_000000', [train(10, 3.0)])
    session(tmp_path, '20260102_000000', [train(20, 3.0)])
    session(tmp_path, '20260103_000000', [])
    run = read_run(tmp_path)
    assert '20260102' in run.config_text
    for config in tmp_path.glob('*/vis_data/config.py'):
        config.unlink()
    assert 'a test' in read_run(tmp_path).config_text
    (tmp_path / 'config.py').unlink()
    run = read_run(tmp_path)
    assert run.config_text == ''
    with pytest.raises(UserError, match=r'no config\.py'):
        run.config()


@pytest.mark.parametrize(
    'files, pointer, last, best',
    [
        (
            ['iter_90.pth', 'iter_100.pth', 'best_mIoU_iter_90.pth'],
            None,
            'iter_100.pth',
            'best_mIoU_iter_90.pth',
        ),
        # The folder was moved.
        (['iter_90.pth', 'iter_100.pth'], '/elsewhere/iter_90.pth', 'iter_90.pth', None),
        (['iter_90.pth'], '/elsewhere/iter_100.pth', 'iter_90.pth', None),
        (['best_mIoU_iter_90.pth'], None, 'best_mIoU_iter_90.pth', 'best_mIoU_iter_90.pth'),
        (['epoch_9.pth', 'epoch_10.pth'], None, 'epoch_10.pth', None),
        ([], None, None, None),
    ],
)
def test_checkpoints(files, pointer, last, best, tmp_path):
    session(tmp_path, '20260101_000000', [train(10, 3.0)])
    for file in files:
        (tmp_path / file).touch()
    if pointer:
        (tmp_path / 'last_checkpoint').write_text(pointer)
    run = read_run(tmp_path)
    for which, name in (('last', last), ('best', best)):
        if name:
            assert run.checkpoint(which) == tmp_path / name
        else:
            with pytest.raises(UserError, match=str(tmp_path)):
                run.checkpoint(which)


@pytest.mark.parametrize('file', ['iter_540.pth', 'best_mIoU_iter_540.pth'])
def test_the_last_iteration_may_be_that_of_a_checkpoint(file, tmp_path):
    # Every 50th iteration is logged.
    record = RunRecord(tmp_path, {'loss': Curve((50, 500), (2.0, 1.0))}, {}, None, 1, 0)
    assert record.iterations == 500
    (tmp_path / 'epoch_900.pth').touch()
    (tmp_path / file).touch()
    assert record.iterations == 540
