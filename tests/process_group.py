"""Run a function in several processes, forked from the test to import the toolbox once."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed


def in_process_group(
    world_size: int, function: Callable[..., Any], *args: Any, seconds: float = 200
) -> list[Any]:
    """Call a function in every process of a gloo group.

    Args:
        world_size: Processes; one is a process without a group.
        function: Called with ``args``; its result has to be picklable.
        seconds: After this time the processes are killed and the test fails.

    Returns:
        What each process returned, by rank.
    """
    context = multiprocessing.get_context('fork')
    with tempfile.TemporaryDirectory() as folder:
        queue = context.Queue()
        processes = [
            context.Process(
                target=_run, args=(rank, world_size, Path(folder), queue, function, args)
            )
            for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        try:
            deadline = time.monotonic() + seconds
            results = {}
            while len(results) < world_size:
                rank, result, error = queue.get(timeout=max(deadline - time.monotonic(), 0.1))
                assert error is None, f'process {rank}: {error}'
                results[rank] = result
        finally:
            for process in processes:
                if len(results) < world_size:
                    process.kill()
                process.join()
    return [results[rank] for rank in range(world_size)]


def _run(
    rank: int, world_size: int, folder: Path, queue: Any, function: Callable[..., Any], args: tuple
) -> None:
    # Threads of OpenMP do not survive a fork.
    torch.set_num_threads(1)
    try:
        if world_size > 1:
            os.environ.update(LOCAL_RANK=str(rank), RANK=str(rank), WORLD_SIZE=str(world_size))
            distributed.init_process_group(
                'gloo', init_method=f'file://{folder / "store"}', rank=rank, world_size=world_size
            )
        queue.put((rank, function(*args), None))
    except BaseException:
        queue.put((rank, None, traceback.format_exc()))
    queue.close()
    queue.join_thread()
    # Resources inherited from the test's process must be released only there.
    os._exit(0)
