"""Early stopping: decisions, refusals, resuming and several processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EarlyStoppingHook
from mmseg.registry import METRICS
from process_group import in_process_group
from toolbox_state import clear_toolbox_state

from mmseg_encnet.errors import UserError
from mmseg_encnet.resuming import ResumableEarlyStoppingHook
from mmseg_encnet.running.runner import EncNetRunner

NAN = float('nan')
SCORES = [50.0, 60.0, 60.05, 60.0, 70.0, 1.0, 1.0, 1.0]


@METRICS.register_module(force=True)
class GivenScore(BaseMetric):
    """The n-th validation measures the n-th score."""

    default_prefix = None

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = scores

    def process(self, data_batch, data_samples) -> None:
        self.results += [0] * len(data_samples)

    def compute_metrics(self, results) -> dict[str, float]:
        from mmengine.logging import MessageHub

        iteration = MessageHub.get_current_instance().runtime_info.get('iter', 0)
        return {'score': self.scores[min(iteration, len(self.scores) - 1)]}


def options(patience: int = 2, **hook) -> dict:
    return {
        'custom_hooks': [
            dict(
                type='EarlyStoppingHook',
                **{**dict(monitor='score', rule='greater', patience=patience), **hook},
            )
        ],
        'val_evaluator': dict(_delete_=True, type='GivenScore', scores=SCORES),
        'train_cfg.max_iters': 8,
        'train_cfg.val_interval': 1,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.checkpoint.save_best': 'score',
        'default_hooks.checkpoint.rule': 'greater',
        'randomness.seed': 0,
        'log_level': 'WARNING',
    }


@pytest.mark.parametrize(
    'scores, arguments, stops_at',
    [
        # A constant score is no improvement, whatever min_delta.
        ([1, 1, 1, 1], dict(min_delta=0), 3),
        ([1, 1.05, 1.08, 1.2], dict(min_delta=0.1), 3),
        ([3, 2, 2, 2.5], dict(rule='less', min_delta=0), 4),
        ([1, NAN], {}, 2),
        ([1, NAN, NAN, 5], dict(check_finite=False), 3),
        ([NAN, 1, 2, 3], dict(check_finite=False), None),
        ([1, 9], dict(stopping_threshold=8), 2),
    ],
)
def test_decisions(scores, arguments, stops_at):
    hook = ResumableEarlyStoppingHook('score', **{**dict(rule='greater', patience=2), **arguments})
    stops = [hook._check_stop_condition(score)[0] for score in scores]
    assert (stops.index(True) + 1 if True in stops else None) == stops_at


@pytest.mark.parametrize(
    'monitor, rule',
    [
        ('mIoU', 'greater'),
        ('presence/mAP', 'greater'),
        ('loss', 'less'),
        ('decode.loss_topk', 'less'),
        ('mFscore', 'greater'),
    ],
)
def test_rules_by_name(monitor, rule):
    assert ResumableEarlyStoppingHook(monitor).rule == rule


@pytest.mark.parametrize(
    'arguments, match',
    [
        (dict(monitor='error'), "whether a larger error is better; set rule='greater'"),
        (dict(monitor='mIoU', rule='larger'), "unknown rule 'larger'"),
        (dict(monitor='mIoU', patience=0), 'patience must be a positive integer, got 0'),
        (dict(monitor='mIoU', min_delta=-1), 'min_delta must be a non-negative number, got -1'),
        (dict(monitor=''), "monitor must be the name of a metric, got ''"),
    ],
)
def test_refused_arguments(arguments, match):
    with pytest.raises(UserError, match=match):
        ResumableEarlyStoppingHook(**arguments)


def test_an_unknown_metric_is_refused_before_training(tiny_config):
    with pytest.raises(UserError, match=r"got monitor='mAcc'.*measures score; choose one"):
        EncNetRunner.from_cfg(tiny_config(options(monitor='mAcc'))).train()


def test_a_test_builds_no_training_data(tiny_config):
    cfg = tiny_config(options())
    cfg.train_cfg = cfg.train_dataloader = cfg.optim_wrapper = cfg.param_scheduler = None
    assert 'mIoU' in EncNetRunner.from_cfg(cfg).test()


def iterations(cfg) -> tuple[int, list[str]]:
    # Runs that start in the same second would share the toolbox's message hub.
    clear_toolbox_state()
    runner = EncNetRunner.from_cfg(cfg)
    assert any(isinstance(hook, EarlyStoppingHook) for hook in runner.hooks)
    runner.train()
    return runner.iter, sorted(path.name for path in Path(runner.work_dir).glob('best*.pth'))


class Interrupted(Exception):
    pass


@pytest.mark.parametrize('by_epoch', [False, True])
def test_a_resumed_run_stops_at_the_same_validation(tiny_config, by_epoch):
    def config(work_dir: str, **changed):
        cfg = tiny_config(options(), work_dir)
        if by_epoch:
            cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=8, val_interval=1)
            cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
            cfg.train_dataloader.batch_size = 4
            cfg.default_hooks.checkpoint.by_epoch = True
        cfg.update(changed)
        return cfg

    whole = iterations(config('whole'))
    # 60.05 and 60.0 do not improve on 60 by 0.1. The best checkpoint has no such margin.
    assert whole == (4, [f'best_score_{"epoch" if by_epoch else "iter"}_3.pth'])

    clear_toolbox_state()
    cfg = config('cut')
    runner = EncNetRunner.from_cfg(cfg)
    hook = next(hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook))
    decide = hook.after_val_epoch

    def stop_after_three(runner, metrics=None):
        decide(runner, metrics)
        if runner.iter == 3:
            hook.before_train_iter = interrupt

    def interrupt(*_, **__):
        raise Interrupted

    hook.after_val_epoch = stop_after_three
    with pytest.raises(Interrupted):
        runner.train()
    assert hook.wait_count == 1
    assert iterations(config('cut', resume=True)) == whole
    # It has stopped; more patience continues it.
    assert iterations(config('cut', resume=True))[0] == 4
    cfg = config('cut', resume=True)
    cfg.custom_hooks[0].patience = 3
    assert iterations(cfg)[0] > 4


def test_two_processes_decide_as_one(tiny_config):
    cfg = tiny_config(options(), 'two')
    cfg.launcher = 'pytorch'
    results = in_process_group(2, iterations, cfg)
    assert [count for count, _ in results] == [4, 4]
