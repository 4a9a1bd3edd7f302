"""Names of EncNet's layers in each framework.

PyTorch-Encoding and its descendant FastFCN share their names; FastFCN adds a neck, ``jpu``.
MMSegmentation's names are ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# Layers after the backbone: our name, their name.
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
# FastFCN's neck numbers its first convolutions by stage of the backbone, 3 to 5.
for _index in range(3):
    _LAYERS[f'neck.conv_layers.{_index}.0.conv'] = f'jpu.conv{_index + 3}.0'
    _LAYERS[f'neck.conv_layers.{_index}.0.bn'] = f'jpu.conv{_index + 3}.1'
for _index in range(4):
    _ours, _theirs = f'neck.dilation_layers.{_index}.0', f'jpu.dilation{_index + 1}'
    _LAYERS[f'{_ours}.depthwise_conv.conv'] = f'{_theirs}.0.conv1'
    _LAYERS[f'{_ours}.depthwise_conv.bn'] = f'{_theirs}.0.bn'
    _LAYERS[f'{_ours}.pointwise_conv.conv'] = f'{_theirs}.0.pointwise'
    _LAYERS[f'{_ours}.pointwise_conv.bn'] = f'{_theirs}.1'

# The stem of a ResNet-S: ours is one sequence, theirs is ``conv1``, which lacks the last norm, and
# ``bn1``. Our prefix, their prefix; the more specific one first.
_STEM = {'stem.7.': 'bn1.', 'stem.': 'conv1.'}

_SEPARABLE = re.compile(r'neck\.dilation_layers\.\d\.0\.(depthwise|pointwise)_conv\.(conv|bn)\.')


def original_backbone_key(key: str) -> str:
    """Return the name in PyTorch-Encoding's backbone of an entry of :class:`ResNetV1s`."""
    return _with_prefix_replaced(key, _STEM)


def rename_backbone(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the entries of PyTorch-Encoding's backbone to those of :class:`ResNetV1s`.

    The ImageNet classifier ``fc`` is dropped.
    """
    ours = {theirs: ours for ours, theirs in _STEM.items()}
    return {
        _with_prefix_replaced(key, ours): value
        for key, value in source.items()
        if not key.startswith('fc.')
    }


def original_key(key: str) -> str:
    """Return the name in PyTorch-Encoding and FastFCN of an entry of our EncNet."""
    if key.startswith('backbone.'):
        return f'pretrained.{original_backbone_key(key.removeprefix("backbone."))}'
    layer, _, entry = key.rpartition('.')
    return f'{_LAYERS[layer]}.{entry}'


def _with_prefix_replaced(key: str, prefixes: Mapping[str, str]) -> str:
    for before, after in prefixes.items():
        if key.startswith(before):
            return after + key.removeprefix(before)
    return key


def from_original(key: str, value: Tensor) -> Tensor:
    """Return the value of our entry ``key``, given the original's value.

    FastFCN's neck concatenates the three stages from coarse to fine, MMSegmentation's JPU from fine
    to coarse. The layers after it therefore need their input channels reordered; unordered weights
    would load without an error.
    """
    match = _SEPARABLE.match(key)
    if match is None or value.dim() == 0 or match.groups() == ('pointwise', 'bn'):
        return value
    axis = 1 if match.group(1) == 'pointwise' else 0
    if value.shape[axis] % 3:
        # Not a neck of this kind; the comparison of shapes reports it.
        return value
    return torch.cat(value.chunk(3, dim=axis)[::-1], dim=axis)
