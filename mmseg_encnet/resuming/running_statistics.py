"""Running statistics of norm layers that each process estimates from its own images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


def average_running_statistics(models: Iterable[nn.Module]) -> None:
    """Average the running means and variances of unsynchronised norms over all processes.

    Otherwise every process would evaluate its part of the images with a different network, and a
    checkpoint would hold that of the main process. A running statistic is a linear function of the
    statistics of the batches, so apart from rounding errors the result does not depend on when or
    how often it is averaged.

    Every process of the group must call this function. In a single process it does nothing.
    """
    if get_world_size() == 1:
        return
    statistics = _unsynchronised(models)
    if not statistics:
        return
    # One collective call.
    values = torch.cat([statistic.flatten() for statistic in statistics])
    all_reduce(values, op='mean')
    for statistic, value in zip(statistics, values.split([s.numel() for s in statistics])):
        statistic.copy_(value.view_as(statistic))


def own_statistics(models: Iterable[nn.Module]) -> list[Tensor]:
    """Return copies of what :func:`average_running_statistics` would change in this process."""
    if get_world_size() == 1:
        return []
    return [statistic.detach().cpu().clone() for statistic in _unsynchronised(models)]


def restore_statistics(models: Iterable[nn.Module], own: list[Tensor] | None) -> None:
    """Restore what :func:`own_statistics` returned, if anything."""
    for statistic, value in zip(_unsynchronised(models), own or ()):
        statistic.copy_(value)


def _unsynchronised(models: Iterable[nn.Module]) -> list[Tensor]:
    return [
        statistic
        for model in models
        for module in model.modules()
        if isinstance(module, _NormBase) and not isinstance(module, nn.SyncBatchNorm)
        for statistic in (module.running_mean, module.running_var)
        if isinstance(statistic, Tensor)
    ]
