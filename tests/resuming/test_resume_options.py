"""The options of ``tools/train.py`` that continue a changed run."""

from __future__ import annotations

import re

import pytest
from stopped_runs import OPTIONS
from tiny_setup import MSRC21

from mmseg_encnet.configuration.kinds import KINDS

NAMES = ', '.join(KINDS)
# Options, and the message.
MISTAKES = {
    'unknown name': (
        ['--override', 'rate=1'],
        f"unknown name 'rate' in --override; choose from {NAMES}.",
    ),
    'length': (
        ['--override', 'max_iters=9'],
        'got --override max_iters=9; use --extend-to N to change the length.',
    ),
    'entry of a number': (
        ['--override', 'lr.decay=1'],
        'got --override lr.decay=1, expected lr or lr=VALUE.',
    ),
    'value of a part': (
        ['--override', 'model=5'],
        'got --override model=5, expected model or model.KEY=VALUE.',
    ),
    'no value': (['--override', 'lr='], 'got --override lr=, expected lr or lr=VALUE.'),
    'no entry': (['--override', 'data.'], 'got --override data., expected data or data.KEY=VALUE.'),
    'value of what has none': (
        ['--override', 'processes=2'],
        'got --override processes=2, expected processes.',
    ),
    'brackets': (
        ['--override', 'crop=[1,2'],
        'got --override crop=[1,2, expected a number, a string or a list with matching brackets.',
    ),
    'no --resume': (
        ['--override', 'lr=0.1'],
        'got --override without --resume; add --resume to continue a run.',
    ),
    'no --resume to extend': (
        ['--extend-to', '9'],
        'got --extend-to without --resume; add --resume to continue a run.',
    ),
    'entry that is not there': (
        ['--resume', '--override', 'pipeline.RandomRotate.prob=1'],
        '--cfg-options train_dataloader.dataset.pipeline.RandomRotate.prob=1 does not fit',
    ),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_a_mistake_in_the_options_is_one_sentence(name, run_tool):
    arguments, message = MISTAKES[name]
    assert message in run_tool('train', MSRC21, *arguments).sentence


@pytest.mark.parametrize('length', ['0', '-5', 'many', '1.5'])
def test_a_length_is_a_positive_integer(length, run_tool):
    result = run_tool('train', MSRC21, '--resume', f'--extend-to={length}')
    assert result.status == 2
    assert 'argument --extend-to: ' in result.err


# Diverges in the third iteration.
DIVERGING = f"""
_base_ = {str(MSRC21)!r}
optim_wrapper = dict(optimizer=dict(lr=1e30))
param_scheduler = [dict(type='ConstantLR', factor=1e-33, by_epoch=False, begin=0, end=3)]
"""


def test_the_advice_after_a_diverged_training_works(run_tool, tiny_data, tmp_path):
    (tmp_path / 'config.py').write_text(DIVERGING)
    train = ['train', 'config.py', '--work-dir', 'work']
    options = {
        **OPTIONS,
        'data_root': str(tiny_data),
        'train_cfg.max_iters': 5,
        'default_hooks.checkpoint.interval': 2,
    }
    failed = run_tool(*train, options=options)
    lower, clipped = re.findall(r'\((--resume [^)]+)\)', failed.sentence)
    assert lower == '--resume --override lr=1e+29'
    refused = run_tool(*train, '--resume', options={**options, 'optim_wrapper.optimizer.lr': 0.001})
    assert refused.sentence.endswith(
        'optim_wrapper.optimizer.lr changed from 1e+30 to 0.001; undo the change, or accept it '
        'with --override lr.'
    )
    # Both are accepted; this rate is too high even when clipped.
    assert 'the loss became' in run_tool(*train, *clipped.split(), options=options).sentence
    lower = lower.replace('1e+29', '0.001')
    assert run_tool(*train, *lower.split(), options=options).status == 0
    # As a scheduler that starts a finished job again.
    assert run_tool(*train, *lower.split(), options=options).status == 0
