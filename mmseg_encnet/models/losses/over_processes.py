"""Averages over the whole batch, across all processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

_within_process: ContextVar[bool] = ContextVar('within_process', default=False)


@contextmanager
def within_process() -> Iterator[None]:
    """Average losses over the images of this process alone, without communication."""
    token = _within_process.set(True)
    try:
        yield
    finally:
        _within_process.reset(token)


def sum_over_processes(total: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Sum a loss and the number of its terms over all processes, in one collective call.

    ``DistributedDataParallel`` averages the gradients of the processes. If their numbers of
    labelled pixels differ, the mean of their means is not the mean over the batch. The returned
    total divided by the returned count is, in value and in gradient.

    Every process of the group must call this function, even without terms. In a single process and
    inside :func:`within_process` the arguments are returned unchanged.

    Args:
        total: Sum of the terms of this process, a scalar with a gradient.
        count: Number of the terms (or sum of their weights) of this process, a scalar.

    Returns:
        The sum of the totals, equal in all processes, whose gradient is that of this process's
        total times the number of processes, to compensate for the averaging of gradients; and the
        sum of the counts in the dtype of ``total``.
    """
    world_size = get_world_size()
    if world_size == 1 or _within_process.get():
        return total, count
    # float32 cannot represent every integer above 2^24.
    sums = torch.stack([total.detach().double(), count.double()])
    all_reduce(sums)
    sums = sums.to(total.dtype)
    share = world_size * total
    return share + (sums[0] - share).detach(), sums[1]
