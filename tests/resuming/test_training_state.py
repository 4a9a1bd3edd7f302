"""A checkpoint without a usable training state is refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.runner import CheckpointLoader
from stopped_runs import DONE, EPOCHS, LENGTH, Runs

from mmseg_encnet.errors import UserError


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = CheckpointLoader.load_checkpoint(str(path))
    change(content)
    torch.save(content, path)


def position(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content['meta'].update(values)


def without(*keys: str) -> Callable[[dict[str, Any]], Any]:
    def change(content: dict[str, Any]) -> None:
        *path, last = keys
        for key in path:
            content = content[key]
        del content[last]

    return change


def forget_the_run(content: dict[str, Any]) -> None:
    del content['run_record']


def both(*changes: Callable) -> Callable[[dict[str, Any]], Any]:
    return lambda content: [change(content) for change in changes]


def of_adam(content: dict[str, Any]) -> None:
    """Make the optimiser state one of Adam, in a checkpoint without a record."""
    forget_the_run(content)
    for group in content['optimizer']['param_groups']:
        for key in ('momentum', 'dampening', 'nesterov'):
            del group[key]
        group.update(betas=(0.9, 0.999), eps=1e-8, amsgrad=False)


# A change of the checkpoint, what the message says, and what makes it continue nevertheless.
STATES: dict[str, tuple[Callable[[dict[str, Any]], Any], str, str | None]] = {
    'no meta': (without('meta'), 'has None as meta, expected a dictionary', None),
    'no message hub': (without('message_hub'), "has no 'message_hub'", None),
    'no iteration': (without('meta', 'iter'), 'has None as meta.iter, expected an integer', None),
    'negative iteration': (position(iter=-5), 'meta.iter is -5, expected a non-negative', None),
    'iteration nobody trained': (
        position(iter=10**12),
        'meta.iter is 1000000000000, but its param_schedulers[0] is at 2',
        None,
    ),
    'iteration nobody trained, no schedule': (
        both(position(iter=10**12), without('param_schedulers')),
        'has 1000000000000 iterations, but its run had 3',
        None,
    ),
    'no optimiser': (without('optimizer'), 'it has no optimiser state', 'optimizer'),
    'empty optimiser': (
        lambda c: c['optimizer'].update(state={}),
        'its optimiser has no state for some parameters',
        'optimizer',
    ),
    'optimiser of fewer parameters': (
        lambda c: c['optimizer']['param_groups'].pop(),
        'the optimiser changed from',
        'optimizer',
    ),
    'momenta of other shapes': (
        lambda c: c['optimizer']['state'][0].update(momentum_buffer=torch.ones(7, 3)),
        'its optimiser has no state for some parameters',
        'optimizer',
    ),
    'another optimiser, no record': (
        of_adam,
        'the optimiser changed from one with amsgrad, betas, eps',
        'optimizer',
    ),
    'another rate, no record': (
        both(
            forget_the_run,
            lambda c: [g.update(initial_lr=7.0) for g in c['optimizer']['param_groups']],
        ),
        'the lr of the optimiser changed from 7.0 to 0.00125',
        'lr',
    ),
    'no schedulers': (
        without('param_schedulers'),
        'it has no states for the 1 schedulers of param_scheduler',
        'schedule',
    ),
    'empty schedulers': (
        lambda c: c.update(param_schedulers=[]),
        'it has no states for the 1 schedulers',
        'schedule',
    ),
    'empty state of a scheduler': (
        lambda c: c.update(param_schedulers=[{}]),
        'param_scheduler.0 is another scheduler',
        'schedule',
    ),
    'another schedule, no record': (
        both(forget_the_run, lambda c: c['param_schedulers'][0].update(power=3.0)),
        'param_scheduler.0.power changed from 3.0 to 0.9',
        'schedule',
    ),
    'record of another type': (
        lambda c: c.update(run_record=[1]),
        "has a damaged entry 'run_record'",
        None,
    ),
    'record without samples': (
        without('run_record', 'samples'),
        "has a damaged entry 'run_record'",
        None,
    ),
    'record of no text': (
        lambda c: c['run_record'].update(settings='{'),
        "has a damaged entry 'run_record'",
        None,
    ),
    'record of zero processes': (
        lambda c: c['run_record'].update(processes=0),
        "has a damaged entry 'run_record'",
        None,
    ),
}


@pytest.mark.parametrize('name', STATES)
def test_an_unusable_state_is_refused(name, runs, tmp_path):
    change, message, accepting = STATES[name]
    work_dir = runs.stopped(tmp_path / 'work')
    edit(work_dir / f'iter_{DONE}.pth', change)
    with pytest.raises(UserError) as refused:
        runs.train(work_dir, {})
    sentence = ' '.join(str(refused.value).split())
    assert message in sentence
    assert sentence.startswith(f'checkpoint {work_dir / "iter_2.pth"} ')
    assert sentence.endswith('.') and sentence.count('. ') == 0
    if accepting:
        assert f'accept it with --override {accepting}.' in sentence
        runs.train(work_dir, {}, override=accepting)
        assert (work_dir / f'iter_{LENGTH}.pth').is_file()


def rates(path: Path) -> list[float]:
    groups = CheckpointLoader.load_checkpoint(str(path))['optimizer']['param_groups']
    return [group['lr'] for group in groups]


WARM_UP = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=2),
    dict(type='PolyLR', power=0.9, by_epoch=False, begin=2, end=3),
]
SCHEDULES: dict[str, dict[str, Any]] = {
    'to the end of training': {},
    'after a warm-up': {'param_scheduler': WARM_UP},
    'cosine': {'param_scheduler': [dict(type='CosineAnnealingLR', by_epoch=False, T_max=3)]},
    'by epoch': EPOCHS,
    'several steps': {
        'param_scheduler': [
            dict(type='MultiStepLR', by_epoch=False, milestones=[1, 3], gamma=0.5),
            dict(type='PolyLR', by_epoch=False),
        ]
    },
}


@pytest.mark.parametrize('name', SCHEDULES)
def test_an_extended_run_has_the_rates_of_a_longer_one(name, runs, tmp_path):
    options = SCHEDULES[name]
    stem = 'epoch' if name == 'by epoch' else 'iter'
    work_dir = runs.stopped(tmp_path / 'extended', options)
    runs.train(work_dir, options, extend_to=5)
    # Without a checkpoint, it starts from the beginning.
    whole = tmp_path / 'longer'
    runs.train(whole, options, extend_to=5)
    for done in range(DONE + 1, 6):
        assert rates(work_dir / f'{stem}_{done}.pth') == rates(whole / f'{stem}_{done}.pth')
    assert all(rates(work_dir / f'{stem}_{DONE + 1}.pth'))


def test_an_extended_run_is_extended_again_and_shortened(runs, tmp_path):
    work_dir = runs.stopped(tmp_path / 'work')
    runs.train(work_dir, {}, extend_to=4)
    runs.train(work_dir, {}, extend_to=5)
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'iter_3.pth'))
    runs.train(work_dir, {}, extend_to=4)


def test_an_overridden_rate_follows_the_schedule(runs, tmp_path):
    work_dir = runs.stopped(tmp_path / 'work')
    before = rates(work_dir / 'iter_2.pth')
    runs.train(work_dir, {}, override='lr=0.001', extend_to=5)
    runs.train(tmp_path / 'whole', {'train_cfg.max_iters': 5}, resume=False)
    after = rates(work_dir / 'iter_3.pth')
    assert after == pytest.approx([r / 10 for r in rates(tmp_path / 'whole' / 'iter_3.pth')])
    assert len(before) == len(after) and len(set(after)) == 2


def test_a_schedule_that_has_ended_is_not_extended(runs, tmp_path):
    options = {'param_scheduler': [dict(type='PolyLR', by_epoch=False, end=2)]}
    work_dir = runs.stopped(tmp_path / 'work', options)
    with pytest.raises(UserError, match='the learning rate is 0 from iteration 2 on; set the end'):
        runs.train(work_dir, options, extend_to=6)


def test_a_finished_run_has_nothing_to_do(runs: Runs, tmp_path):
    work_dir = runs.stopped(tmp_path / 'work')
    runs.train(work_dir, {})
    runs.train(work_dir, {'log_level': 'INFO'})
    log = ' '.join(path.read_text() for path in work_dir.glob('*/*.log'))
    assert 'iter_3.pth is the end of its run: nothing is left to train' in log
    for length in (1, 2):
        with pytest.raises(UserError) as refused:
            runs.train(work_dir, {'train_cfg.max_iters': length})
        assert (
            f'iter_3.pth has 3 iterations, but train_cfg.max_iters is {length}, so nothing is left '
            'to train; train longer with --extend-to N, where N is above 3.'
        ) in str(refused.value)
