"""Synthetic weights of other frameworks, from the definitions of their networks."""

from __future__ import annotations

from collections.abc import Iterator

import torch

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
NORM = ('weight', 'bias', 'running_mean', 'running_var')


def conv(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f'{name}.weight', shape


def norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from ((f'{name}.{entry}', (channels,)) for entry in NORM)
    yield f'{name}.num_batches_tracked', ()


def biased(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f'{name}.weight', shape
    yield f'{name}.bias', shape[:1]


def backbone(depth: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Return the entries of PyTorch-Encoding's ResNet-S, without the classifier."""
    yield from conv('conv1.0', 64, 3, 3, 3)
    yield from norm('conv1.1', 64)
    yield from conv('conv1.3', 64, 64, 3, 3)
    yield from norm('conv1.4', 64)
    yield from conv('conv1.6', 128, 64, 3, 3)
    yield from norm('bn1', 128)
    channels = 128
    for stage, blocks in enumerate(BLOCKS[depth]):
        width = 64 * 2**stage
        for block in range(blocks):
            name = f'layer{stage + 1}.{block}'
            yield from conv(f'{name}.conv1', width, channels, 1, 1)
            yield from norm(f'{name}.bn1', width)
            yield from conv(f'{name}.conv2', width, width, 3, 3)
            yield from norm(f'{name}.bn2', width)
            yield from conv(f'{name}.conv3', 4 * width, width, 1, 1)
            yield from norm(f'{name}.bn3', 4 * width)
            if block == 0:
                yield from conv(f'{name}.downsample.0', 4 * width, channels, 1, 1)
                yield from norm(f'{name}.downsample.1', 4 * width)
            channels = 4 * width


def encnet(
    depth: int,
    num_classes: int,
    lateral: bool = False,
    se_loss: bool = True,
    aux: bool = True,
    jpu: bool = False,
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Return the entries of PyTorch-Encoding's EncNet, or with ``jpu`` of FastFCN's."""
    yield from ((f'pretrained.{key}', shape) for key, shape in backbone(depth))
    if jpu:
        for stage, channels in ((3, 512), (4, 1024), (5, 2048)):
            yield from conv(f'jpu.conv{stage}.0', 512, channels, 3, 3)
            yield from norm(f'jpu.conv{stage}.1', 512)
        for index in range(1, 5):
            yield from conv(f'jpu.dilation{index}.0.conv1', 1536, 1, 3, 3)
            yield from norm(f'jpu.dilation{index}.0.bn', 1536)
            yield from conv(f'jpu.dilation{index}.0.pointwise', 512, 1536, 1, 1)
            yield from norm(f'jpu.dilation{index}.1', 512)
    yield from conv('head.conv5.0', 512, 2048, *(1, 1) if jpu else (3, 3))
    yield from norm('head.conv5.1', 512)
    if lateral:
        for index, channels in enumerate((512, 1024)):
            yield from conv(f'head.connect.{index}.0', 512, channels, 1, 1)
            yield from norm(f'head.connect.{index}.1', 512)
        yield from conv('head.fusion.0', 512, 1536, 3, 3)
        yield from norm('head.fusion.1', 512)
    yield from conv('head.encmodule.encoding.0', 512, 512, 1, 1)
    yield from norm('head.encmodule.encoding.1', 512)
    yield 'head.encmodule.encoding.3.codewords', (32, 512)
    yield 'head.encmodule.encoding.3.scale', (32,)
    yield from norm('head.encmodule.encoding.4', 32)
    yield from biased('head.encmodule.fc.0', 512, 512)
    if se_loss:
        yield from biased('head.encmodule.selayer', num_classes, 512)
    yield from biased('head.conv6.1', num_classes, 512, 1, 1)
    if aux:
        yield from conv('auxlayer.conv5.0', 256, 1024, 3, 3)
        yield from norm('auxlayer.conv5.1', 256)
        yield from biased('auxlayer.conv5.4', num_classes, 256, 1, 1)


def fill(entries: Iterator[tuple[str, tuple[int, ...]]]) -> dict[str, torch.Tensor]:
    """Return a different number for every entry, without memory for its elements."""
    return {
        key: torch.tensor(index) if shape == () else torch.tensor(index / 1e4).expand(shape)
        for index, (key, shape) in enumerate(entries, start=1)
    }
