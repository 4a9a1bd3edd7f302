"""A run without progress is ended, and the process that it waits for is named."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from torch.distributed import HashStore

from mmseg_encnet.datasets import current_file
from mmseg_encnet.datasets.current_file import Record, reading
from mmseg_encnet.errors import UserError
from mmseg_encnet.running import stalls
from mmseg_encnet.running.hooks import StallHook
from mmseg_encnet.running.stalls import Watchdog


class Ended(list):
    """Exit statuses, and the sentences."""

    def __init__(self) -> None:
        self.sentences: list[str] = []


@pytest.fixture
def ended(monkeypatch) -> Ended:
    """Record the end of a process instead of ending it."""
    found = Ended()
    monkeypatch.setattr(stalls, 'report', found.sentences.append)

    def leave(status: int) -> None:
        found.append(status)
        # Ends the thread of the watchdog.
        raise SystemExit

    monkeypatch.setattr(stalls.os, '_exit', leave)
    return found


def watchdogs(
    folder: Path, count: int = 1, seconds: float = 0.4, started: int | None = None
) -> list[Watchdog]:
    store = HashStore() if count > 1 else None
    return [
        Watchdog(seconds, folder, rank, count, store, 'training', lambda: None)
        for rank in range(count if started is None else started)
    ]


def wait(ended: Ended, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not ended and time.monotonic() < deadline:
        time.sleep(0.02)


def save_checkpoint(seconds: float) -> None:
    time.sleep(seconds)


def test_step_that_takes_too_long_is_named_with_its_place(ended, tmp_path, capfd):
    (watchdog,) = watchdogs(tmp_path)
    watchdog.beat('in training iteration 7')
    wait(ended)
    assert ended == [124]
    (sentence,) = ended.sentences
    assert 'rank 0 waits in training iteration 7, in wait (test_stalls.py, line ' in sentence
    assert 'made no progress for 0.4 s' in sentence and '--resume' in sentence
    assert 'rank 0 has made no progress for' in capfd.readouterr().err
    assert 'test_stalls.py' in (tmp_path / 'stacks_of_rank_0.txt').read_text()


def test_progress_and_long_steps_are_no_stall(ended, tmp_path):
    (watchdog,) = watchdogs(tmp_path)
    # A long validation.
    for index in range(12):
        watchdog.beat(f'in validation iteration {index}')
        time.sleep(0.1)
    # A model that is compiled, and a checkpoint.
    watchdog.beat('in training iteration 1', stalls.PATIENCE)
    time.sleep(0.9)
    watchdog.beat('in training iteration 2')
    save_checkpoint(0.9)
    watchdog.close()
    assert not ended


def test_file_that_cannot_be_read_is_named(ended, tmp_path):
    (watchdog,) = watchdogs(tmp_path)
    watchdog.beat('after training iteration 7')
    with reading('/mnt/dead/1.jpg'):
        wait(ended)
    (sentence,) = ended.sentences
    assert 'after training iteration 7: the process is reading /mnt/dead/1.jpg' in sentence


def test_process_that_the_others_wait_for_is_blamed(ended, tmp_path):
    first, second = watchdogs(tmp_path, 2)
    for watchdog in (first, second):
        watchdog.beat('in training iteration 7')
    first.beat('in training iteration 8')
    wait(ended)
    time.sleep(3)
    first.close()
    second.close()
    assert set(ended.sentences) == {ended.sentences[0]}
    assert 'rank 1 waits in training iteration 7' in ended.sentences[0]


def test_process_that_does_not_answer_is_blamed(ended, tmp_path):
    first, second = watchdogs(tmp_path, 2)
    time.sleep(0.5)
    # As if it were stopped.
    second.close()
    first.beat('in training iteration 8')
    wait(ended)
    assert 'rank 1 does not respond' in ended.sentences[0]


def test_process_that_never_answered_is_blamed(ended, tmp_path):
    (first,) = watchdogs(tmp_path, 2, started=1)
    first.beat('in training iteration 2')
    wait(ended)
    assert 'rank 1 does not respond' in ended.sentences[0]


def test_others_wait_for_a_process_that_saves(ended, tmp_path):
    first, second = watchdogs(tmp_path, 2)
    second.beat('in training iteration 7', stalls.PATIENCE)
    first.beat('in training iteration 7')
    first.beat('in training iteration 8')
    time.sleep(1.2)
    assert not ended
    first.close()
    second.close()


def test_record_is_shared_and_bounded(monkeypatch):
    record = Record()
    monkeypatch.setattr(current_file, '_own', record)
    assert record.read() is None
    for path in ('a.jpg', 'ü' * 5000, '\udcff.png'):
        with reading(path):
            assert path.startswith(record.read().path[:100])
            assert record.read().since <= time.monotonic()
        assert record.read() is None


@pytest.mark.parametrize('value', ['-1', 'nan', 'inf', 'soon', ''])
def test_limit_must_be_a_number(value, monkeypatch):
    monkeypatch.setenv(stalls.SECONDS, value)
    with pytest.raises(UserError, match='MMSEG_ENCNET_STALL_SECONDS must be a number of seconds'):
        StallHook()
    monkeypatch.setenv(stalls.SECONDS, '7')
    assert StallHook().seconds == 7
    assert StallHook(seconds=0).seconds == 0
