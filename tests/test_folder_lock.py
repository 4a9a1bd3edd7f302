"""Two runs never write into one folder, and no lock outlives its holder."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmseg_encnet import folder_lock
from mmseg_encnet.errors import UserError
from mmseg_encnet.folder_lock import NAME, FolderLock


def lock(folder: Path, said: list[str] | None = None, lost: list[str] | None = None) -> FolderLock:
    return FolderLock(
        folder,
        'work dir work',
        'choose another one with --work-dir',
        report=(said if said is not None else []).append,
        lost=(lost if lost is not None else []).append,
    )


def of(folder: Path, **changes: object) -> None:
    """Leave a lock of this process in a folder, with changes."""
    with lock(folder):
        own = json.loads((folder / NAME).read_text())
    (folder / NAME).write_text(json.dumps({**own, **changes}))


def test_second_holder_is_refused_in_a_sentence(tmp_path):
    with lock(tmp_path / 'a' / 'b'):
        with pytest.raises(UserError) as refused:
            lock(tmp_path / 'a' / 'b').take()
        # Another folder is free.
        with lock(tmp_path / 'c'):
            pass
    sentence = str(refused.value)
    assert f'process {os.getpid()} on {socket.gethostname()}' in sentence
    assert sentence.endswith('stop it, or choose another one with --work-dir.')
    assert not (tmp_path / 'a' / 'b' / NAME).exists()
    with lock(tmp_path / 'a' / 'b'):
        pass


@pytest.mark.parametrize(
    'content', ['', 'no lock', '[]', '{}', '{"pid": "7"}', '{"pid": true, "host": 1}']
)
def test_file_that_is_no_lock_is_replaced(content, tmp_path):
    (tmp_path / NAME).write_text(content)
    with lock(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())['pid'] == os.getpid()


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='needs /proc')
def test_lock_of_an_ended_process_is_taken_over(tmp_path):
    ended = subprocess.Popen([sys.executable, '-c', ''])
    time.sleep(0.5)
    # Not waited for: it stays as a zombie.
    for changes in (dict(pid=ended.pid), dict(pid=2**22 + 1), dict(started='1')):
        of(tmp_path, **changes)
        said: list[str] = []
        with lock(tmp_path, said):
            assert len(said) == 1 and 'which has ended; the lock is taken over' in said[0]
    ended.wait()


def test_killed_holder_loses_its_lock_at_once(tmp_path):
    holder = multiprocessing.get_context('fork').Process(target=hold, args=(tmp_path,), daemon=True)
    holder.start()
    while not (tmp_path / NAME).is_file() or not (tmp_path / NAME).read_text():
        time.sleep(0.02)
    with pytest.raises(UserError, match=f'process {holder.pid} '):
        lock(tmp_path).take()
    os.kill(holder.pid, signal.SIGKILL)
    # Until it has ended; it stays a zombie.
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    with lock(tmp_path):
        pass
    holder.join()


def hold(folder: Path) -> None:
    lock(folder).take()
    time.sleep(60)


@pytest.mark.parametrize('elsewhere', [dict(host='another'), dict(machine='another container')])
def test_holder_on_another_machine_is_judged_by_its_heartbeat(elsewhere, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, 'STALE_SECONDS', 2.5)
    of(tmp_path, **elsewhere)
    old = time.time() - 3
    os.utime(tmp_path / NAME, (old, old))
    with lock(tmp_path):
        pass

    # Silent, but recently written: wait for a sign of it.
    of(tmp_path, **elsewhere)
    said: list[str] = []
    with lock(tmp_path, said):
        assert 'waiting up to' in said[0] and 'taken over' in said[1]

    of(tmp_path, **elsewhere)
    waiting = lock(tmp_path, said, [])
    monkeypatch.setattr(folder_lock.time, 'sleep', lambda _: os.utime(tmp_path / NAME))
    with pytest.raises(UserError, match='in use'):
        waiting.take()


def test_holder_notices_that_it_lost_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, 'BEAT_SECONDS', 0.05)
    lost: list[str] = []
    holder = lock(tmp_path, lost=lost)
    holder.take()
    before = (tmp_path / NAME).stat().st_mtime_ns
    time.sleep(0.3)
    assert (tmp_path / NAME).stat().st_mtime_ns > before and not lost
    # In one step: a process that takes the lock keeps others from reading half of the file.
    other = tmp_path / 'other'
    other.write_text(json.dumps(dict(pid=1, host='another')))
    other.replace(tmp_path / NAME)
    time.sleep(0.3)
    assert len(lost) == 1 and 'was taken over by process 1 on another' in lost[0]
    holder.release()
    # It is not ours to remove.
    assert (tmp_path / NAME).is_file()


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match=r'work dir work cannot be written \(.+\); choose another'):
        lock(tmp_path / 'file').take()


def test_without_the_functions_of_posix(tmp_path, monkeypatch):
    """Windows has no file locks, no start times of processes, and does not remove open files."""
    for name in ('pread', 'pwrite', 'kill'):
        monkeypatch.delattr(os, name)
    monkeypatch.setattr(os, 'supports_fd', set())
    monkeypatch.setattr(folder_lock, 'fcntl', None)
    monkeypatch.setattr(folder_lock, '_WINDOWS', True)
    monkeypatch.setattr(folder_lock, '_start_of', lambda pid: None)
    monkeypatch.setattr(folder_lock.Path, 'exists', lambda path: False)
    monkeypatch.setattr(folder_lock, 'STALE_SECONDS', 3.0)
    monkeypatch.setattr(folder_lock, 'BEAT_SECONDS', 0.1)
    with lock(tmp_path), pytest.raises(UserError, match='is in use by process'):
        lock(tmp_path).take()
    monkeypatch.undo()
    assert not (tmp_path / NAME).exists()
