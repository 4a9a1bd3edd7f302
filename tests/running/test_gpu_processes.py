"""Processes on GPUs: too few of them, and errors of NCCL, imitated on the CPU."""

from __future__ import annotations

import pytest
import torch

from mmseg_encnet.errors import UserError
from mmseg_encnet.running import processes
from mmseg_encnet.running.processes import run_training, start_process_group

# Messages of torch.distributed.DistBackendError and of the store, from PyTorch's sources.
LOST = [
    '[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7, OpType=ALLREDUCE) '
    'ran for 600017 milliseconds before timing out.',
    'NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.hpp:275, remote process exited '
    'or there was a network error, NCCL version 2.21.5\nncclRemoteError: A call failed possibly '
    'due to a network error or a remote process exiting prematurely.',
    'NCCL communicator was aborted on rank 1.',
    'Timed out after 1801 seconds waiting for clients. 1/2 clients joined.',
    'wait timeout after 600000ms, keys: /default_pg/0//cuda//0',
]
FAILED = [
    (
        'NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.hpp:275, unhandled system '
        'error, NCCL version 2.21.5\nncclSystemError: System call failed.\nLast error:\nsocketStart'
        'Connect: Connect to 10.0.0.2<41771> failed : Software caused connection abort',
        'socketStartConnect: Connect to 10.0.0.2<41771> failed : Software caused connection abort',
    ),
    (
        'NCCL error in: /pytorch/torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:3353, invalid '
        'usage, NCCL version 2.21.5\nncclInvalidUsage: This usually reflects invalid usage.\nLast '
        'error:\nDuplicate GPU detected : rank 1 and rank 0 both on CUDA device 1000',
        'Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1000',
    ),
    ('NCCL Error 1: unhandled cuda error', 'NCCL Error 1: unhandled cuda error'),
]


@pytest.fixture
def fail(monkeypatch, tiny_config):
    def run(message: str) -> str:
        def start(cfg):
            raise torch.distributed.DistBackendError(message)

        monkeypatch.setattr(processes.EncNetRunner, 'from_cfg', start)
        monkeypatch.setattr(processes, '_SECONDS_UNTIL_LAUNCHER_ENDS_US', 0)
        with pytest.raises(UserError) as raised:
            run_training(tiny_config())
        return str(raised.value)

    return run


@pytest.mark.parametrize('message', LOST)
def test_a_lost_process_is_one_sentence(message, fail):
    assert fail(message).startswith('another process of the run has ended or does not respond;')


@pytest.mark.parametrize('message, reason', FAILED)
def test_a_failure_of_nccl_is_one_sentence(message, reason, fail):
    sentence = fail(message)
    assert f'failed ({reason}); check' in sentence
    assert '\n' not in sentence


def test_other_errors_keep_their_traceback(monkeypatch, tiny_config):
    def start(cfg):
        raise RuntimeError('CUDA error: an illegal memory access was encountered')

    monkeypatch.setattr(processes.EncNetRunner, 'from_cfg', start)
    with pytest.raises(RuntimeError, match='illegal'):
        run_training(tiny_config())


@pytest.mark.parametrize('gpus, found', [(1, '1 GPU on'), (3, '3 GPUs on')])
def test_more_processes_than_gpus(gpus, found, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.device_count', lambda: gpus)
    for launched in (1, gpus):
        monkeypatch.setenv('LOCAL_WORLD_SIZE', str(launched))
        start_process_group('pytorch')
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    with pytest.raises(UserError, match=f'^got 4 processes, but PyTorch finds {found} this'):
        start_process_group('pytorch')
    # A single process does not read the launcher's variables.
    start_process_group('none')
