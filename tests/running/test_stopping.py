"""Stopped trainings end after the same iteration in every process, and resume bit for bit."""

from __future__ import annotations

import json
import math
import threading
import time
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import CheckpointLoader
from process_group import in_process_group
from tiny_setup import MSRC21, SHRUNK
from torch.distributed import HashStore

from mmseg_encnet.configuration.loading import load_config
from mmseg_encnet.configuration.resume_options import parse_overrides
from mmseg_encnet.errors import UserError
from mmseg_encnet.folder_lock import FolderLock
from mmseg_encnet.resuming.options import change_run
from mmseg_encnet.running import stopping
from mmseg_encnet.running.explain import Stopped
from mmseg_encnet.running.hooks import StopHook
from mmseg_encnet.running.hooks.stop_hook import limit_hours
from mmseg_encnet.running.processes import training_process
from mmseg_encnet.running.runner import EncNetRunner
from mmseg_encnet.running.stopping import Agreement, Reason, current, forget

REASON = Reason('SIGTERM', 143)


@pytest.fixture(autouse=True)
def _no_agreement():
    forget()
    yield
    forget()


@pytest.mark.parametrize('positions', [[3, 3], [3, 4], [7, 6, 7], [3, 9, 4]])
@pytest.mark.parametrize('told', [0, -1])
def test_processes_agree_on_the_furthest_position(positions, told):
    store = HashStore()
    agreements = [Agreement() for _ in positions]
    for rank, (agreement, position) in enumerate(zip(agreements, positions)):
        agreement.advance(position)
        agreement.join(store, rank, len(positions))
    agreements[told].request(REASON)
    reached = [0] * len(positions)

    def go_on(rank: int) -> None:
        position = positions[rank]
        while agreements[rank].advance(position):
            reached[rank] = position
            position += 1
            time.sleep(0.01 + 0.01 * rank)

    threads = [threading.Thread(target=go_on, args=(rank,)) for rank in range(len(positions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(set(reached)) == 1 and reached[0] >= max(positions)
    assert {agreement.reason for agreement in agreements} == {REASON}
    for agreement in agreements:
        agreement.close()


def test_process_that_has_finished_does_not_hold_up_the_others():
    store = HashStore()
    agreements = [Agreement(), Agreement()]
    for rank, agreement in enumerate(agreements):
        agreement.advance(30)
        agreement.join(store, rank, 2)
    agreements[0].finish()
    agreements[1].request(REASON)
    # Its training is complete as well.
    assert agreements[1].advance(31) and agreements[1].advance(32)
    agreements[1].close()


@pytest.mark.parametrize('hours', ['0', '-1', 'nan', 'inf'])
def test_hours_must_be_positive_and_finite(hours, run_tool, tmp_path):
    sentence = run_tool('train', MSRC21, '--max-hours', hours).sentence
    assert sentence.startswith('--max-hours must be a positive number of hours, got ')
    with pytest.raises(UserError, match='max_hours of StopHook must be a positive number'):
        StopHook(max_hours=float(hours))


def test_time_limit_stops_with_a_checkpoint(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, '_STARTED', time.monotonic())
    monkeypatch.setitem(OPTIONS, 'train_cfg.max_iters', 100_000)
    cfg = load_config(str(MSRC21), {**OPTIONS, 'data_root': str(tiny_data)}, str(tmp_path))
    limit_hours(cfg, 3 / 3600)
    with pytest.raises(Stopped) as stopped:
        EncNetRunner.from_cfg(cfg).train()
    assert stopped.value.status == 75
    assert stopped.value.line.startswith('training stopped by --max-hours after iteration ')
    assert any(str(path) in stopped.value.line for path in tmp_path.glob('iter_*.pth'))


@HOOKS.register_module(force=True)
class RequestHook(Hook):
    """Requests a stop in an iteration, at one of the methods of a hook."""

    def __init__(self, where: str, iteration: int, rank: int = 0) -> None:
        self.where, self.iteration, self.rank = where, iteration, rank

    def _ask(self, where: str, runner) -> None:
        if (where, runner.iter, runner.rank) == (self.where, self.iteration, self.rank):
            current().request(REASON)
            if runner.world_size > 1:
                # The other process hears of it before the next iteration.
                time.sleep(0.8)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self._ask('before_train_iter', runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._ask('after_train_iter', runner)

    def before_val_epoch(self, runner) -> None:
        self._ask('before_val_epoch', runner)

    def after_val_epoch(self, runner, metrics=None) -> None:
        self._ask('after_val_epoch', runner)


OPTIONS = {
    **SHRUNK,
    'train_cfg.max_iters': 8,
    'train_cfg.val_interval': 3,
    'default_hooks.checkpoint.interval': 4,
    'default_hooks.checkpoint.max_keep_ckpts': 1,
    'default_hooks.checkpoint.save_best': None,
    'randomness.seed': 1,
    'log_level': 'ERROR',
    'train_cfg.type': 'IterBasedTrainLoop',
}
EMA = dict(type='EMAHook', momentum=0.3)


def _train(
    data: str,
    work_dir: str,
    hooks: list[dict],
    resume: bool = False,
    override: str = '',
    extend_to: int | None = None,
) -> str | None:
    """Train, and return the line of a stop."""
    forget()
    launcher = 'pytorch' if torch.distributed.is_initialized() else 'none'
    overrides = parse_overrides(override.split())
    options = {**OPTIONS, **overrides.entries, 'data_root': data}
    cfg = load_config(str(MSRC21), options, work_dir, launcher)
    HOOKS.register_module(name='RequestHook', module=RequestHook, force=True)
    cfg.custom_hooks = hooks
    cfg.resume = resume
    accepted = change_run(cfg, overrides, extend_to, resume)
    try:
        runner = EncNetRunner.from_cfg(cfg)
        runner.accepted_changes = accepted
        runner.train()
    except Stopped as stopped:
        assert stopped.status == 143
        return stopped.line
    finally:
        forget()
    return None


def _interrupted(data: str, folder: str, hooks: list[dict], stops: list[dict]) -> list[str | None]:
    whole = _train(data, f'{folder}/whole', hooks)
    assert whole is None, whole
    lines = []
    for index, stop in enumerate([*stops, None]):
        asked = [dict(type='RequestHook', **stop)] if stop else []
        lines.append(_train(data, f'{folder}/parts', [*hooks, *asked], resume=index > 0))
    return lines


def check_same_end(folder: Path) -> None:
    runs = [folder / 'whole', folder / 'parts']
    ends = [CheckpointLoader.load_checkpoint(str(run / 'iter_8.pth')) for run in runs]
    for part in ('state_dict', 'ema_state_dict'):
        for key, value in ends[0].get(part, {}).items():
            assert torch.equal(value, ends[1][part][key]), key
    assert [{path.name for path in run.glob('*.pth')} for run in runs] == [{'iter_8.pth'}] * 2


STOPS = [
    dict(where='before_train_iter', iteration=1),
    # In the validation after iteration 3, for which no checkpoint is due.
    dict(where='before_val_epoch', iteration=3),
    # The iteration of a checkpoint.
    dict(where='after_train_iter', iteration=3),
    # While the metrics are computed.
    dict(where='after_val_epoch', iteration=6),
    dict(where='before_train_iter', iteration=6),
]


@pytest.mark.parametrize('hooks', [[], [EMA]], ids=['plain', 'EMA'])
def test_stopped_run_resumes_bit_for_bit(hooks, tiny_data, tmp_path):
    lines = _interrupted(str(tiny_data), str(tmp_path), hooks, STOPS)
    done = [2, 3, 4, 6, 7]
    for line, count in zip(lines, done):
        assert line.startswith(f'training stopped by SIGTERM after iteration {count}; checkpoint ')
        assert line.endswith(f'iter_{count}.pth is written; continue with --resume.')
    assert lines[-1] is None
    check_same_end(tmp_path)


def test_two_processes_stop_after_the_same_iteration(tiny_data, tmp_path):
    stops = [dict(stop, rank=index % 2) for index, stop in enumerate(STOPS[:-1])]
    results = in_process_group(2, _interrupted, str(tiny_data), str(tmp_path), [], stops)
    assert results[0] == results[1]
    assert all(str(line).startswith('training stopped by SIGTERM') for line in results[0][:-1]), (
        results
    )
    assert results[0][-1] is None
    check_same_end(tmp_path)


def test_stopped_run_continues_in_other_processes_with_changes(tiny_data, tmp_path):
    stop, work = dict(type='RequestHook', where='before_train_iter', iteration=4), tmp_path / 'work'
    lines = in_process_group(2, _train, str(tiny_data), str(work), [stop])
    assert lines[0].endswith('iter_5.pth is written; continue with --resume.')
    limit = dict(type='StopHook', max_hours=9.0)
    change = dict(resume=True, override='lr=0.001', extend_to=9)
    assert _train(str(tiny_data), str(work), [dict(stop, iteration=6), limit], **change)
    # As after a kill, the same options are needed again.
    with pytest.raises(UserError, match=r'--extend-to 8 --override lr\.$'):
        _train(str(tiny_data), str(work), [limit], resume=True)
    assert _train(str(tiny_data), str(work), [limit], **change) is None
    assert [path.name for path in work.glob('iter_*.pth')] == ['iter_9.pth']
    end = CheckpointLoader.load_checkpoint(str(work / 'iter_9.pth'))
    assert end['optimizer']['param_groups'][0]['initial_lr'] == pytest.approx(0.001 * 4 / 16)


def _refused(data: str, folder: str) -> str:
    cfg = load_config(str(MSRC21), {**OPTIONS, 'data_root': data}, folder, 'pytorch')
    with pytest.raises(UserError) as refused, training_process(cfg):
        raise AssertionError
    return str(refused.value)


def test_locked_work_dir_ends_every_process_in_the_same_sentence(tiny_data, tmp_path):
    with FolderLock(tmp_path, 'work dir', 'none'):
        first, second = in_process_group(2, _refused, str(tiny_data), str(tmp_path))
    assert first == second and first.startswith(f'work dir {tmp_path} is in use by process ')


def test_epoch_based_training_names_the_checkpoint_it_resumes_from(
    tiny_data, tmp_path, monkeypatch
):
    monkeypatch.setitem(OPTIONS, 'train_cfg.type', 'EpochBasedTrainLoop')
    monkeypatch.delitem(OPTIONS, 'train_cfg.max_iters')
    monkeypatch.setitem(OPTIONS, 'train_cfg._delete_', True)
    monkeypatch.setitem(OPTIONS, 'train_cfg.max_epochs', 3)
    monkeypatch.setitem(OPTIONS, 'train_cfg.val_interval', 2)
    monkeypatch.setitem(OPTIONS, 'train_dataloader.sampler.type', 'DefaultSampler')
    monkeypatch.setitem(OPTIONS, 'default_hooks.checkpoint.by_epoch', True)
    monkeypatch.setitem(OPTIONS, 'default_hooks.checkpoint.interval', 1)

    def line(where: str, iteration: int, resume: bool) -> str | None:
        hook = dict(type='RequestHook', where=where, iteration=iteration)
        return _train(str(tiny_data), str(tmp_path / 'work'), [hook], resume)

    # Two iterations an epoch.
    assert line('before_train_iter', 0, False).endswith('no epoch was completed.')
    assert line('before_train_iter', 1, False).endswith(
        'epoch_1.pth is written; continue with --resume.'
    )
    within = line('before_train_iter', 2, True)
    assert 'in epoch 2' in within and 'epoch_1.pth with --resume' in within
    assert line('before_val_epoch', 99, True) is None


def test_run_that_fails_is_not_watched_any_more(tiny_config):
    others = threading.enumerate()
    runner = EncNetRunner.from_cfg(
        tiny_config({'custom_hooks': [dict(type='StallHook', seconds=99)]})
    )

    def watching() -> bool:
        return any(
            thread.name == 'stalls' and thread not in others for thread in threading.enumerate()
        )

    def fail(*_, **__):
        assert watching()
        raise RuntimeError('a defect')

    runner.model.train_step = fail
    with pytest.raises(RuntimeError, match='a defect'):
        runner.train()
    deadline = time.monotonic() + 20
    while watching():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_other_names_of_the_hook_are_replaced_by_the_option(tiny_config):
    cfg = tiny_config(
        {'custom_hooks': [dict(type='mmengine.StopHook', max_hours=3), dict(type='EMAHook')]}
    )
    limit_hours(cfg, 2.5)
    assert [hook.get('max_hours') for hook in cfg.custom_hooks] == [None, 2.5]
    assert not math.isnan(json.loads(json.dumps(cfg.custom_hooks[-1]))['max_hours'])
