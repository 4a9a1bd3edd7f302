"""Refuse training in which a norm layer would normalise a single value."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils.data import DataLoader

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.parts import evaluating


def check_norms(model: nn.Module, dataloader: DataLoader) -> None:
    """Check that every norm layer will have more than one value per statistic.

    PyTorch refuses to normalise a single value, as in the global pooling of PSPNet and DeepLabV3
    with one image per process. Networks for which this can happen process one training sample, in
    evaluation mode.

    Args:
        model: The segmentor, not wrapped.
        dataloader: The training data.

    Raises:
        UserError: A layer would have a single value; the message names it.
    """
    smallest = _smallest_batch(dataloader)
    layers = {
        module: name
        for name, module in model.named_modules()
        if isinstance(module, _InstanceNorm)
        or (smallest == 1 and isinstance(module, (_BatchNorm, nn.GroupNorm)))
    }
    if not layers:
        return
    sample = dataloader.collate_fn([dataloader.dataset[0]])
    with evaluating(model), torch.no_grad(), _watched(layers, smallest, dataloader):
        model(**model.data_preprocessor(sample, training=True), mode='loss')


def _smallest_batch(dataloader: DataLoader) -> int:
    """Return the number of images of the smallest training batch of this process."""
    size = dataloader.batch_size or 1
    if dataloader.drop_last or isinstance(dataloader.sampler, InfiniteSampler):
        return size
    return len(dataloader.sampler) % size or size


@contextmanager
def _watched(layers: dict[nn.Module, str], smallest: int, dataloader: DataLoader) -> Iterator[None]:
    def check(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if _values(layer, inputs[0].shape, smallest) > 1:
            return
        if isinstance(layer, _InstanceNorm):
            remedy = 'use another norm_cfg, such as BN or GN'
        elif (dataloader.batch_size or 1) > 1:
            remedy = 'set train_dataloader.drop_last=True'
        else:
            remedy = 'set train_dataloader.batch_size to at least 2'
        raise UserError(
            f'{layers[layer]} of the model would normalise a single value, because its input is '
            f'1x1 and a batch of a process can have {smallest} image{"s" * (smallest > 1)}; '
            f'{remedy}.'
        )

    handles = [layer.register_forward_pre_hook(check) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _values(layer: nn.Module, shape: torch.Size, batch: int) -> int:
    """Return the number of values over which a layer computes one mean.

    Args:
        layer: Batch, instance or group norm.
        shape: Shape of its input for a single image.
        batch: Number of images.
    """
    positions = math.prod(shape[2:])
    if isinstance(layer, _InstanceNorm):
        return positions
    if isinstance(layer, nn.GroupNorm):
        return batch * shape[0] * positions * shape[1] // layer.num_groups
    processes = get_world_size() if isinstance(layer, nn.SyncBatchNorm) else 1
    return processes * batch * shape[0] * positions
