"""Compute each loss of a model once, to find options that do not work together."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.decode_heads.enc_head import EncHead
from torch import Tensor, nn

from mmseg_encnet.errors import UserError, type_and_first_line
from mmseg_encnet.models.decode_heads import AuxEncodingHead, AuxFCNHead, EncodingHead
from mmseg_encnet.models.parts import heads_of

_OURS = (AuxFCNHead, EncodingHead, EncHead)
_WHILE_COMPUTING = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
_BATCH, _HEIGHT = 2, 7


def check_losses(model: nn.Module) -> None:
    """Compute the losses of every head on random scores of the size 7x5 (or 7x6), as in training.

    Heads that call their losses in a way different from that of mmseg's ``BaseDecodeHead`` are
    skipped. No random number is drawn from the generators of the process.

    Args:
        model: A segmentor.

    Raises:
        UserError: A loss or a pixel sampler does not work; the message names its config entry.
    """
    for key, head in heads_of(model):
        if isinstance(head, BaseDecodeHead) and (
            isinstance(head, _OURS) or type(head).loss_by_feat is BaseDecodeHead.loss_by_feat
        ):
            _check_segmentation_losses(key, head)
        if isinstance(head, AuxEncodingHead) or getattr(head, 'use_se_loss', False):
            _check_se_loss(key, head)


def _check_segmentation_losses(key: str, head: BaseDecodeHead) -> None:
    channels = head.out_channels
    losses = head.loss_decode if isinstance(head.loss_decode, nn.ModuleList) else [head.loss_decode]
    for loss in losses:
        _check_class_weight(loss, f'model.{key}.loss_decode', channels)
    device = next(head.parameters()).device
    generator = torch.Generator().manual_seed(0)
    # Not the number of classes, against which class weights would be broadcast.
    size = _HEIGHT, 5 if channels != 5 else 6
    scores = torch.randn(_BATCH, channels, *size, generator=generator)
    label = torch.randint(
        max(channels, min(head.num_classes, 2)), (_BATCH, 1, *size), generator=generator
    )
    label[:, :, 0] = head.ignore_index
    scores, label = scores.to(device).requires_grad_(), label.to(device)
    weight = None
    if head.sampler is not None:
        kind = type(head.sampler).__name__
        try:
            weight = head.sampler.sample(scores, label)
        except _WHILE_COMPUTING as error:
            names = ' and '.join(type(loss).__name__ for loss in losses)
            raise UserError(
                f'{kind} of model.{key}.sampler does not work with {names} and {channels} output '
                f'channel(s) ({type_and_first_line(error)}); use a SyncCrossEntropyLoss without '
                'use_sigmoid, or remove the sampler.'
            ) from error
    for loss in losses:
        try:
            value = loss(scores, label.squeeze(1), weight=weight, ignore_index=head.ignore_index)
            _check_scalar(value)
        except _WHILE_COMPUTING as error:
            raise UserError(
                f'{type(loss).__name__} of model.{key}.loss_decode cannot be computed for '
                f'{channels} output channel(s) ({type_and_first_line(error)}); correct its '
                'arguments or use another loss, such as SyncCrossEntropyLoss.'
            ) from error


def _check_se_loss(key: str, head: nn.Module) -> None:
    loss = head.loss_se_decode
    _check_class_weight(loss, f'model.{key}.loss_se_decode', head.num_classes)
    device = next(head.parameters()).device
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(_BATCH, head.num_classes, generator=generator).to(device)
    presence = (torch.rand(scores.shape, generator=generator) < 0.5).float().to(device)
    try:
        value = loss(scores, presence)
        _check_scalar(value)
    except _WHILE_COMPUTING as error:
        raise UserError(
            f'{type(loss).__name__} of model.{key}.loss_se_decode cannot be computed for '
            f'{head.num_classes} classes ({type_and_first_line(error)}); use a '
            'SemanticEncodingLoss.'
        ) from error
    # Only a normalisation over the classes ignores a constant that all of them share.
    if head.num_classes > 1 and torch.allclose(value, loss(scores + 4, presence), rtol=1e-4):
        raise UserError(
            f'{type(loss).__name__} of model.{key}.loss_se_decode lets the classes compete, but '
            'an image can contain several; use a SemanticEncodingLoss, or set use_sigmoid=True.'
        )


def _check_scalar(loss: Any) -> None:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f'got a loss of shape {shape}, expected a single value')


def _check_class_weight(loss: nn.Module, key: str, channels: int) -> None:
    weights = getattr(loss, 'class_weight', None)
    if weights is None or not isinstance(weights, Iterable):
        return
    values = list(weights)
    if len(values) != channels:
        raise UserError(
            f'got {len(values)} class weights in {key}.class_weight, expected {channels}, one for '
            'each output channel of the head; correct class_weight.'
        )
    flat = [_plain(value) for value in values]
    if not all(isinstance(v, Real) and math.isfinite(v) and v >= 0 for v in flat) or not any(flat):
        raise UserError(
            f'{key}.class_weight must hold non-negative numbers, not all of them zero, got {flat}.'
        )


def _plain(value: Any) -> Any:
    while isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    return value.item() if hasattr(value, 'item') else value
