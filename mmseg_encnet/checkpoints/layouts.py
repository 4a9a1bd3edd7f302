"""How the layers of one EncNet are named in each framework.

PyTorch-Encoding and FastFCN, which grew out of it, share their names; FastFCN adds a neck, ``jpu``.
MMSegmentation's names are ours.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

# Layers after the backbone: ours, theirs.
_LAYERS = {
    'decode_head.bottleneck.conv': 'head.conv5.0',
    'decode_head.bottleneck.bn': 'head.conv5.1',
    'decode_head.lateral_convs.0.conv': 'head.connect.0.0',
    'decode_head.lateral_convs.0.bn': 'head.connect.0.1',
    'decode_head.lateral_convs.1.conv': 'head.connect.1.0',
    'decode_head.lateral_convs.1.bn': 'head.connect.1.1',
    'decode_head.fusion.conv': 'head.fusion.0',
    'decode_head.fusion.bn': 'head.fusion.1',
    'decode_head.enc_module.encoding_project.conv': 'head.encmodule.encoding.0',
    'decode_head.enc_module.encoding_project.bn': 'head.encmodule.encoding.1',
    'decode_head.enc_module.encoding.0': 'head.encmodule.encoding.3',
    'decode_head.enc_module.encoding.1': 'head.encmodule.encoding.4',
    'decode_head.enc_module.fc.0': 'head.encmodule.fc.0',
    'decode_head.se_layer': 'head.encmodule.selayer',
    'decode_head.conv_seg': 'head.conv6.1',
    'auxiliary_head.convs.0.conv': 'auxlayer.conv5.0',
    'auxiliary_head.convs.0.bn': 'auxlayer.conv5.1',
    'auxiliary_head.conv_seg': 'auxlayer.conv5.4',
}
# FastFCN's neck. It counts its first convolutions by stage of the backbone, 3 to 5.
for _index in range(3):
    _LAYERS[f'neck.conv_layers.{_index}.0.conv'] = f'jpu.conv{_index + 3}.0'
    _LAYERS[f'neck.conv_layers.{_index}.0.bn'] = f'jpu.conv{_index + 3}.1'
for _index in range(4):
    _ours, _theirs = f'neck.dilation_layers.{_index}.0', f'jpu.dilation{_index + 1}'
    _LAYERS[f'{_ours}.depthwise_conv.conv'] = f'{_theirs}.0.conv1'
    _LAYERS[f'{_ours}.depthwise_conv.bn'] = f'{_theirs}.0.bn'
    _LAYERS[f'{_ours}.pointwise_conv.conv'] = f'{_theirs}.0.pointwise'
    _LAYERS[f'{_ours}.pointwise_conv.bn'] = f'{_theirs}.1'

_SEPARABLE = re.compile(r'neck\.dilation_layers\.\d\.0\.(depthwise|pointwise)_conv\.(conv|bn)\.')


def backbone_key(key: str) -> str:
    """Name of a :class:`ResNetV1s` entry in PyTorch-Encoding's backbone.

    Its stem is ``conv1`` (a sequence that lacks the last norm) followed by ``bn1``; ours is the
    one sequence ``stem``.
    """
    if key.startswith('stem.7.'):
        return f'bn1.{key.removeprefix("stem.7.")}'
    if key.startswith('stem.'):
        return f'conv1.{key.removeprefix("stem.")}'
    return key


def original_key(key: str) -> str:
    """Name of an entry of our EncNet in PyTorch-Encoding and FastFCN."""
    if key.startswith('backbone.'):
        return f'pretrained.{backbone_key(key.removeprefix("backbone."))}'
    layer, _, entry = key.rpartition('.')
    return f'{_LAYERS[layer]}.{entry}'


def from_original(key: str, value: Tensor) -> Tensor:
    """The value of our entry ``key``, from the value that the original has for it.

    FastFCN concatenates the three stages in its neck from coarse to fine, MMSegmentation's JPU
    from fine to coarse: what comes after has its input channels in another order, and loads
    silently without it.
    """
    match = _SEPARABLE.match(key)
    if match is None or value.dim() == 0 or match.groups() == ('pointwise', 'bn'):
        return value
    axis = 1 if match.group(1) == 'pointwise' else 0
    if value.shape[axis] % 3:
        # No such neck: the comparison of shapes says so.
        return value
    return torch.cat(value.chunk(3, dim=axis)[::-1], dim=axis)
