"""A job of several processes ends or recovers when one process or a whole node ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from jobs import ENDLESS, job, train_command
from nodes import NoNamespacesError, two_nodes
from tiny_setup import ROOT, SHRUNK
from waiting import free_port

from mmseg_encnet.errors import UserError
from mmseg_encnet.program import exit_with_one_sentence

# The promise is 30 s, but the machine that runs the tests may be busy.
SECONDS = 90


@pytest.fixture
def nodes(tmp_path: Path):
    try:
        with two_nodes(tmp_path) as nodes:
            yield nodes
    except NoNamespacesError as error:
        pytest.skip(f'no network namespaces here: {error}')


def test_a_killed_process_ends_the_job(tiny_data, tmp_path):
    with job(
        train_command(tiny_data, tmp_path / 'work', 2, ENDLESS),
        tmp_path / 'log',
        dict(PORT=free_port()),
        tmp_path,
    ) as running:
        running.wait_for('Iter(train)')
        os.kill(running.process_of(0), signal.SIGKILL)
        running.seconds_to_end(SECONDS)
        assert running.process.returncode == 1
        assert 'Signal 9 (SIGKILL)' in running.output.partition('Root Cause')[2]


def test_a_broken_image_in_one_process_ends_the_job_in_one_sentence(tiny_data, tmp_path):
    broken = tiny_data / 'images' / 'train' / '2.jpg'
    broken.write_bytes(b'no image')
    with job(
        train_command(tiny_data, tmp_path / 'work', 2, ENDLESS),
        tmp_path / 'log',
        dict(PORT=free_port()),
        tmp_path,
    ) as running:
        running.seconds_to_end(SECONDS)
        assert running.process.returncode == 2
        (sentence,) = running.errors
        assert str(broken) in sentence
        assert running.output.splitlines()[-1] == sentence
        assert 'Connection closed by peer' not in running.output


def test_a_mistake_in_the_config_ends_the_job_in_one_sentence(tiny_data, tmp_path):
    options = {**SHRUNK, 'model.decode_head.num_codes': 0}
    with job(
        train_command(tiny_data, tmp_path / 'work', 2, options),
        tmp_path / 'log',
        dict(PORT=free_port()),
        tmp_path,
    ) as running:
        running.seconds_to_end(SECONDS)
        assert running.process.returncode == 2
        (sentence,) = running.errors
        assert 'num_codes' in sentence
        assert running.output.splitlines()[-1] == sentence
        assert 'Traceback' not in running.output


@pytest.mark.parametrize('launched, expected', [(True, 2), (False, 4)])
def test_processes_that_fail_alike_tell_it_once(launched, expected, monkeypatch, capsys, tmp_path):
    @exit_with_one_sentence
    def fail(sentence: str) -> None:
        raise UserError(sentence)

    for rank, sentence in enumerate(['one', 'one', 'two', 'two']):
        (tmp_path / str(rank)).mkdir()
        if launched:
            # As torchrun sets it.
            monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(tmp_path / str(rank) / 'error.json'))
        with pytest.raises(SystemExit, match='2'):
            fail(sentence)
    assert capsys.readouterr().err.count('error: ') == expected


def test_a_node_that_comes_back_resumes_the_job(nodes, tiny_data, tmp_path):
    options = {
        **SHRUNK,
        'train_cfg.max_iters': 24,
        'train_cfg.val_interval': 24,
        'default_hooks.checkpoint.interval': 4,
    }
    command = train_command(tiny_data, tmp_path / 'work', 1, options)
    with nodes.start(0, command, MAX_RESTARTS='2') as first:
        with nodes.start(1, command, MAX_RESTARTS='2') as second:
            first.wait_for('Saving checkpoint at 8 iterations')
            second.kill()
        with nodes.start(1, command, MAX_RESTARTS='2') as second:
            for running in (first, second):
                running.seconds_to_end(2 * SECONDS)
                assert running.process.returncode == 0, running.output
    assert first.output.count('resumed epoch: 0, iter: ') == 1
    assert 'another process of the run has ended' in first.errors[0]
    assert (tmp_path / 'work' / 'iter_24.pth').is_file()


@pytest.mark.parametrize(
    'variables, expected',
    [
        (
            dict(MAX_RESTARTS='0'),
            ['--nnodes=1', '--node_rank=0', '--master_addr=127.0.0.1', '--master_port=29500'],
        ),
        (
            dict(MAX_RESTARTS='3'),
            [
                '--nnodes=1',
                '--rdzv_backend=c10d',
                '--rdzv_endpoint=127.0.0.1:29500',
                '--rdzv_id=mmseg-encnet',
                '--max_restarts=3',
            ],
        ),
        (
            dict(
                MAX_RESTARTS='3',
                NNODES='2:4',
                NODE_RANK='1',
                MASTER_ADDR='10.0.0.1',
                PORT='1234',
                NODE_ADDR='10.0.0.2',
            ),
            [
                '--nnodes=2:4',
                '--rdzv_backend=c10d',
                '--rdzv_endpoint=10.0.0.1:1234',
                '--rdzv_id=mmseg-encnet',
                '--rdzv_conf=is_host=0',
                '--local_addr=10.0.0.2',
                '--max_restarts=3',
            ],
        ),
        (
            dict(MAX_RESTARTS='1', NODE_RANK='0', RDZV_ENDPOINT='host:99'),
            [
                '--nnodes=1',
                '--rdzv_backend=c10d',
                '--rdzv_endpoint=host:99',
                '--rdzv_id=mmseg-encnet',
                '--rdzv_conf=is_host=1',
                '--max_restarts=1',
            ],
        ),
    ],
)
def test_variables_of_the_script(variables, expected, tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    python.chmod(0o755)
    with job(
        [ROOT / 'tools' / 'dist_train.sh', 'config.py', 8, '--amp'],
        tmp_path / 'log',
        dict(variables, PYTHON=str(python)),
        tmp_path,
    ) as running:
        running.seconds_to_end(SECONDS)
    resume = ['--resume'] * (variables['MAX_RESTARTS'] != '0')
    assert running.output.splitlines() == [
        str(ROOT / 'tools' / 'torchrun.py'),
        *expected,
        '--nproc_per_node=8',
        str(ROOT / 'tools' / 'train.py'),
        'config.py',
        *resume,
        '--amp',
        '--launcher',
        'pytorch',
    ]
