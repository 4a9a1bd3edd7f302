"""Register the encoders of :mod:`mmseg_encnet.nn` with the toolbox, under their own names."""

from __future__ import annotations

import inspect
from typing import TypeVar

from mmcv.cnn import ConvModule, build_norm_layer
from mmseg.registry import MODELS

from mmseg_encnet import nn
from mmseg_encnet.errors import UserError

ENCODERS = (
    nn.BagOfWords,
    nn.Encoding,
    nn.EncodingDropout,
    nn.FisherVector,
    nn.GlobalAverage,
    nn.VLAD,
)
for _encoder in ENCODERS:
    MODELS.register_module(module=_encoder)

DEFAULT_CODES = 32

Module = TypeVar('Module', bound=nn.SemanticsEncoding)


def build_encoding(
    module: type[Module],
    channels: int,
    num_codes: int | None,
    encoder: dict | None,
    conv_cfg: dict | None,
    norm_cfg: dict | None,
    act_cfg: dict | None,
    **kwargs,
) -> Module:
    """Build the Context Encoding Module, or the part of it without the gate, from a config.

    Args:
        module: :class:`mmseg_encnet.nn.ContextEncoding` or
            :class:`mmseg_encnet.nn.SemanticsEncoding`.
        channels: Channels C of the features.
        num_codes: Codewords K of the dictionary. If None, 32 for encoders that have one.
        encoder: Config of the encoder where it differs from ``dict(type='Encoding')``.
        conv_cfg, norm_cfg, act_cfg: Layer configs of the toolbox. The same ``norm_cfg`` builds
            the norm over the codes: one scale and shift for every row of the statistics.
        **kwargs: ``reduction`` and, for ``ContextEncoding``, ``gate``.

    Raises:
        UserError: ``num_codes`` is set inside the config of the encoder, is given for an encoder
            without a dictionary or is not positive, or the groups of a group norm do not divide
            the rows of the statistics.
    """
    encoder = dict(dict(type='Encoding'), **(encoder or {}))
    if 'num_codes' in encoder:
        raise UserError(
            f'got num_codes={encoder["num_codes"]} in the config of the encoder, expected it in '
            'the head; write EncodingHead(num_codes=..., encoder=dict(...)).'
        )
    kind = encoder['type']
    encoder_class = MODELS.get(kind) if isinstance(kind, str) else kind
    if encoder_class is None:
        raise UserError(f'unknown encoder {kind!r}; choose one of {_names()}.')
    if 'num_codes' in inspect.signature(encoder_class).parameters:
        encoder['num_codes'] = DEFAULT_CODES if num_codes is None else num_codes
    elif num_codes is not None:
        raise UserError(
            f'got num_codes={num_codes}, but the encoder {encoder_class.__name__} has no '
            'dictionary; remove num_codes, or set it to None where a base config sets it.'
        )
    # Built in this order, a seed draws the same initial weights as for mmseg's EncModule.
    projection = ConvModule(
        channels, channels, 1, conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg
    )
    built = MODELS.build(dict(encoder, channels=channels))
    num_groups = (norm_cfg or {}).get('num_groups', 1)
    if built.num_descriptors % num_groups:
        raise UserError(
            f'got num_groups={num_groups}, expected a divisor of the {built.num_descriptors} rows '
            f'of statistics of {built}; choose another num_groups.'
        )
    return module(
        channels,
        encoder=built,
        projection=projection,
        norm=build_norm_layer(norm_cfg or dict(type='BN'), built.num_descriptors)[1],
        **kwargs,
    )


def _names() -> str:
    return ', '.join(encoder.__name__ for encoder in ENCODERS)
