"""Shared memory, through which the processes of a data loader return batches."""

from __future__ import annotations

import multiprocessing
import multiprocessing.queues
import sys
from collections.abc import Callable
from typing import Any

from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader

from mmseg_encnet.disk import explain_os_error
from mmseg_encnet.errors import UserError


def guard_workers(loader: DataLoader) -> None:
    """Make a data loader report a lack of shared memory instead of waiting for ever.

    A worker that cannot place a batch in shared memory prints a traceback and drops the batch, for
    which training then waits. Here it returns the error in place of the batch.

    Raises:
        UserError: Shared memory is full or not writable, and the loader has workers.
    """
    if not loader.num_workers:
        return
    try:
        multiprocessing.Lock()
    except OSError as error:
        raise UserError(str(explain_os_error(error))) from error
    loader.worker_init_fn = _WorkerStart(loader.worker_init_fn)


class _WorkerStart:
    """The initialisation of a worker; an object, because it may have to be pickled."""

    def __init__(self, before: Callable[[int], Any] | None) -> None:
        self.before = before

    def __call__(self, worker: int) -> None:
        multiprocessing.queues.Queue._on_queue_feeder_error = _return_error
        if self.before is not None:
            self.before(worker)


def _return_error(queue: Any, error: Exception, item: Any) -> None:
    """Replace an item that could not be sent by its error; called while that is handled."""
    index = item[0] if isinstance(item, tuple) and item else None
    if isinstance(error, OSError):
        error = UserError(explain_os_error(error) or str(error))
    wrapper = ExceptionWrapper((type(error), error, sys.exc_info()[2]), 'while sending a batch')
    queue.put((index, wrapper))
