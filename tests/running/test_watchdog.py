"""Processes that PyTorch's NCCL watchdog aborts; here, a script writes its lines and aborts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tiny_setup import ROOT
from waiting import free_port

from mmseg_encnet.running.watchdog import explain

TIMEOUT = (
    '[rank1]:[E626 06:24:44.903881913 ProcessGroupNCCL.cpp:616] [Rank 1] Watchdog caught collective'
    ' operation timeout: WorkNCCL(SeqNum=808, OpType=ALLREDUCE, NumelIn=9801523, NumelOut=9801523, '
    'Timeout(ms)=600000) ran for 600020 milliseconds before timing out.'
)
FAILURE = (
    '[rank3]:[E1206 18:44:12.715298746 ProcessGroupNCCL.cpp:1896] [PG ID 0 PG GUID 0(default_pg) '
    'Rank 3] Process group watchdog thread terminated with exception: '
)


@pytest.mark.parametrize(
    'line, sentence, status',
    [
        (TIMEOUT, 'the collective call ALLREDUCE of process 1 did not finish within 600 s; ', 124),
        # PyTorch 2.0.
        (
            '[E ProcessGroupNCCL.cpp:915] [Rank 2] NCCL watchdog thread terminated with exception: '
            '[Rank 2] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=1, '
            'OpType=_ALLGATHER_BASE, Timeout(ms)=1500) ran for 1822 milliseconds before',
            'the collective call ALLGATHER_BASE of process 2 did not finish within 1.5 s',
            124,
        ),
        (
            FAILURE + 'NCCL error: remote process exited or there was a network error',
            'failed in process 3 (NCCL error: remote process exited or there was a network error);',
            2,
        ),
        (
            '[PG 0 Rank 5] Terminating the process after attempting to dump debug info, due to '
            'ProcessGroupNCCL watchdog hang.',
            'the watchdog of NCCL in process 5 did not respond',
            124,
        ),
    ],
)
def test_lines_of_the_watchdog(line, sentence, status):
    explained, found = explain(line)
    assert sentence in explained
    assert found == status


@pytest.mark.parametrize('line', ['', 'loss: 1.2', 'Aborted (core dumped)', '[rank1]:[W1] NCCL'])
def test_other_lines(line):
    assert explain(line) is None


@pytest.mark.parametrize(
    'lines, status, last',
    [
        (TIMEOUT, 124, 'error: the collective call ALLREDUCE of process 1 did not finish within'),
        ('assertion failed', 1, None),
    ],
)
def test_an_aborted_process_ends_the_job(lines, status, last, tmp_path):
    script = tmp_path / 'fake.py'
    script.write_text(
        'import os, sys, time\n'
        'if os.environ["RANK"] == "1":\n'
        f'    print({lines!r}, file=sys.stderr)\n'
        '    sys.stderr.flush()\n'
        '    os.abort()\n'
        'time.sleep(60)\n'
    )
    result = subprocess.run(
        [ROOT / 'tools' / 'torchrun.sh', script, '2'],
        env={**os.environ, 'PYTHON': sys.executable, 'PORT': free_port()},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == status, result.stderr
    # What the processes write is passed on.
    assert lines in result.stderr
    assert ('ChildFailedError' in result.stderr) == (last is None)
    if last:
        assert result.stderr.splitlines()[-1].startswith(last)
        assert 'Traceback' not in result.stderr
