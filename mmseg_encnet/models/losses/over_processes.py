"""Averages over the batch of all processes, not over each process's part of it."""

from __future__ import annotations

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor


def sum_over_processes(total: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Sum a loss and the number of its terms over all processes, in one collective call.

    ``DistributedDataParallel`` averages the gradients of the processes. Where their parts of the
    batch hold unequally many labelled pixels, the mean of their means is not the mean of the
    batch. The returned total over the returned count is, in value and in gradient.

    Every process of the group has to make the call, also one that has nothing to add. In a single
    process both come back unchanged.

    Args:
        total: Sum of the terms of this process, a scalar with a gradient.
        count: Number of the terms (or sum of their weights) of this process, a scalar.

    Returns:
        The sum of the totals, the same value in every process; its gradient is this process's
        share times the number of processes, which the averaging of gradients takes back. And the
        sum of the counts, in the dtype of ``total``.
    """
    world_size = get_world_size()
    if world_size == 1:
        return total, count
    # In double precision, so that pixels beyond 2^24 still count.
    sums = torch.stack([total.detach().double(), count.double()])
    all_reduce(sums)
    sums = sums.to(total.dtype)
    share = world_size * total
    return share + (sums[0] - share).detach(), sums[1]
