"""Weights of three-channel networks for images with another number of channels."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.input_channels import input_channels

MODES = ('mean', 'repeat', 'zero')


def widen(
    weight: Tensor, channels: int, mode: str = 'mean', rgb_channels: Sequence[int] | None = None
) -> Tensor:
    """Return the weight of a convolution over three channels for an image of other channels.

    With weights ``w_0, w_1, w_2`` of the three channels (red, green, blue for most networks), the
    channels ``rgb_channels`` get ``w_0, w_1, w_2``, and the n-th of all others, in their order,

    - ``'mean'``: ``(w_0 + w_1 + w_2) / 3``;
    - ``'repeat'``: ``w_(n mod 3)``;
    - ``'zero'``: 0, so the network computes the same as the three-channel one until it is trained.

    With ``'mean'`` and ``'repeat'`` all weights are then multiplied by ``3 / channels``: C channels
    of similar values would otherwise scale the activations by about C / 3, which the following
    layers do not expect. With ``'mean'`` an image whose channels are all equal gets the activations
    of a grey one.

    Args:
        weight: ``(out_channels, 3, height, width)``.
        channels: Channels of the images.
        mode: ``'mean'``, ``'repeat'`` or ``'zero'``.
        rgb_channels: Positions of red, green and blue in the image. Default: the first three; none
            if there are fewer than three channels.

    Returns:
        ``(out_channels, channels, height, width)``.

    Raises:
        UserError: An argument is out of range.
    """
    known = _checked(channels, mode, rgb_channels)
    widened = weight.new_zeros(weight.shape[0], channels, *weight.shape[2:])
    for position, channel in enumerate(known):
        widened[:, channel] = weight[:, position]
    if mode == 'zero':
        return widened
    others = [channel for channel in range(channels) if channel not in known]
    for index, channel in enumerate(others):
        widened[:, channel] = weight.mean(dim=1) if mode == 'mean' else weight[:, index % 3]
    return widened * (3 / channels)


def first_convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    """Yield the convolutions that may read the image, with their names in the segmentor.

    In a network with several branches several do. Others with as many input channels are among
    them; their weights in a checkpoint have that number of channels already.
    """
    channels = input_channels(model.backbone)
    for name, module in model.named_modules():
        if (
            name.startswith('backbone.')
            and isinstance(module, nn.Conv2d)
            and module.in_channels == channels
            and module.groups == 1
        ):
            yield name, module


def widen_state_dict(
    model: nn.Module,
    state_dict: MutableMapping[str, Any],
    mode: str,
    rgb_channels: Sequence[int] | None,
) -> list[str]:
    """Widen the weights of three-channel convolutions in a state dict of a segmentor.

    Args:
        model: The segmentor.
        state_dict: Changed in place; entries that fit are left as they are.
        mode, rgb_channels: See :func:`widen`.

    Returns:
        The names of the widened entries.
    """
    convolutions = dict(first_convolutions(model))
    widened = []
    for key in list(state_dict):
        name = re.sub(r'^module\.', '', str(key))
        convolution = convolutions.get(name.removesuffix('.weight'))
        if convolution is not None and name.endswith('.weight'):
            weight = _widened(convolution, state_dict[key], mode, rgb_channels)
            if weight is not None:
                state_dict[key] = weight
                widened.append(name)
    return widened


def widen_on_load(
    model: nn.Module, mode: str, rgb_channels: Sequence[int] | None, widened: list[str]
) -> list[Any]:
    """Widen three-channel weights whenever they are loaded into a segmentor's backbone.

    Args:
        model: The segmentor.
        mode, rgb_channels: See :func:`widen`.
        widened: Receives the names of widened convolutions.

    Returns:
        Handles whose ``remove()`` ends this.

    Raises:
        UserError: The backbone has three input channels, or an argument is out of range.
    """
    channels = input_channels(model.backbone)
    if channels == 3:
        raise UserError(
            'got a backbone with three input channels, expected another number to widen its '
            'weights to; set in_channels of the backbone, or remove the WidenInputHook.'
        )
    _checked(channels, mode, rgb_channels)

    names = {module: name for name, module in first_convolutions(model)}

    def before_load(module: nn.Conv2d, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        key = f'{prefix}weight'
        weight = _widened(module, state_dict.get(key), mode, rgb_channels)
        if weight is not None:
            state_dict[key] = weight
            widened.append(names[module])

    return [module.register_load_state_dict_pre_hook(before_load) for module in names]


def _widened(
    convolution: nn.Conv2d, weight: Any, mode: str, rgb_channels: Sequence[int] | None
) -> Tensor | None:
    """Return the widened weight for a convolution, None if it is not one of three channels."""
    shape = convolution.weight.shape
    if not isinstance(weight, Tensor) or weight.shape != (shape[0], 3, *shape[2:]):
        return None
    if shape[1] == 3:
        return None
    with torch.no_grad():
        return widen(weight, shape[1], mode, rgb_channels)


def _checked(channels: int, mode: str, rgb_channels: Sequence[int] | None) -> list[int]:
    """Return the positions of red, green and blue.

    Raises:
        UserError: An argument is out of range.
    """
    if mode not in MODES:
        raise UserError(f'unknown mode {mode!r}; choose one of {", ".join(MODES)}.')
    if rgb_channels is None:
        known = [0, 1, 2] if channels >= 3 else []
    else:
        known = list(rgb_channels)
        fits = all(type(c) is int and 0 <= c < channels for c in known)
        if len(known) != 3 or len(set(known)) != 3 or not fits:
            raise UserError(
                f'rgb_channels must be three different positions from 0 to {channels - 1}, got '
                f'{rgb_channels}; give those of red, green and blue in the images.'
            )
    if mode == 'zero' and not known:
        raise UserError(
            f"got mode='zero' for {channels} channel(s), expected at least 3, because no channel "
            "would keep a weight; use mode='mean'."
        )
    return known
