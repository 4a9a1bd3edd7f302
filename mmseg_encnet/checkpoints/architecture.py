"""Infer the architecture of an EncNet from the names and shapes in its state dict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_encnet.configuration.shipped import config_dir
from mmseg_encnet.errors import UserError

# Residual blocks of each stage, for the depths with bottleneck blocks.
_DEPTHS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}


@dataclass(frozen=True)
class Architecture:
    """The switches of an EncNet on a ResNet or an EfficientNet-Lite.

    Attributes:
        depth: Layers of the ResNet, 50, 101 or 152, or variant of the EfficientNet-Lite, 0 to 2.
        num_classes: Classes of the decode head.
        num_codes: Codewords of the dictionary.
        lateral: Whether the head has lateral connections.
        se_loss: Whether the head has the SE branch.
        aux: Whether there is an auxiliary head.
        jpu: Whether a JPU neck follows an undilated backbone (FastFCN).
        bottleneck_kernel_size: Kernel of the head's first convolution.
        backbone: Registered name of the backbone; ``ResNet`` is torchvision's, with a 7x7 stem.
    """

    depth: int
    num_classes: int
    num_codes: int = 32
    lateral: bool = False
    se_loss: bool = True
    aux: bool = True
    jpu: bool = False
    bottleneck_kernel_size: int = 3
    backbone: str = 'ResNetV1s'

    @classmethod
    def of_original(cls, state_dict: Mapping[str, Tensor]) -> Architecture:
        """Infer the switches from a state dict of PyTorch-Encoding or FastFCN."""
        depth = resnet_depth(state_dict, 'pretrained.')
        missing = [key for key in (_CODEWORDS, _CLASSIFIER, _BOTTLENECK) if key not in state_dict]
        if missing:
            raise UserError(f'it lacks {", ".join(missing)}; use a complete checkpoint.')
        return cls(
            depth=depth,
            num_classes=state_dict[_CLASSIFIER].shape[0],
            num_codes=state_dict[_CODEWORDS].shape[0],
            lateral=has_entries(state_dict, 'head.connect.', 'head.fusion.'),
            se_loss=has_entries(state_dict, 'head.encmodule.selayer.'),
            aux=has_entries(state_dict, 'auxlayer.'),
            jpu=has_entries(state_dict, 'jpu.'),
            bottleneck_kernel_size=state_dict[_BOTTLENECK].shape[-1],
            backbone='ResNet' if 'pretrained.conv1.weight' in state_dict else 'ResNetV1s',
        )

    @property
    def name(self) -> str:
        """A human-readable description."""
        switches = {
            'JPU neck': self.jpu,
            'lateral connections': self.lateral,
            'SE branch': self.se_loss,
            'auxiliary head': self.aux,
        }
        extras = ', '.join(word for word, on in switches.items() if on) or 'no extras'
        kernel = self.bottleneck_kernel_size
        return (
            f'EncNet on {self.backbone}-{self.depth}, {self.num_classes} classes, {self.num_codes} '
            f'codewords, {kernel}x{kernel} first convolution, with {extras}'
        )

    def model_config(self) -> ConfigDict:
        """Return the config of the segmentor, built on the shipped base config."""
        base = 'encnet_r50_jpu' if self.jpu else 'encnet_r50'
        if self.backbone == 'EfficientNetLite':
            base = f'encnet_lite{self.depth}'
        model = Config.fromfile(config_dir() / '_base_' / 'models' / f'{base}.py').model
        if self.backbone == 'ResNetV1s':
            weights = dict(type='Pretrained', checkpoint=f'pytorch-encoding://resnet{self.depth}s')
            model.backbone.update(depth=self.depth, init_cfg=weights)
        if self.backbone == 'ResNet':
            model.backbone.update(type=self.backbone, depth=self.depth, init_cfg=None)
            # The defaults of ResNetV1s.
            model.backbone.update(contract_dilation=True, zero_init_residual=False)
            if not self.jpu:
                model.backbone.update(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
        model.decode_head.update(
            num_classes=self.num_classes,
            num_codes=self.num_codes,
            add_lateral=self.lateral,
            use_se_loss=self.se_loss,
        )
        # That of a Lite network with lateral connections is in its base.
        if self.backbone != 'EfficientNetLite' or not self.lateral:
            model.decode_head.bottleneck_kernel_size = self.bottleneck_kernel_size
        if self.aux:
            model.auxiliary_head.num_classes = self.num_classes
        else:
            del model['auxiliary_head']
        return model

    def shapes(self) -> dict[str, torch.Size]:
        """Return the shape of every entry of the segmentor's state dict."""
        with torch.device('meta'):
            model = build(self.model_config())
        return {key: value.shape for key, value in model.state_dict().items()}


def build(cfg: dict) -> nn.Module:
    """Build a model from the toolbox's registry, whatever the process's default scope."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(cfg)


_CODEWORDS = 'head.encmodule.encoding.3.codewords'
_CLASSIFIER = 'head.conv6.1.weight'
_BOTTLENECK = 'head.conv5.0.weight'


def resnet_depth(state_dict: Mapping[str, Tensor], prefix: str) -> int:
    """Return the depth of the ResNet whose stages are ``PREFIXlayer1`` to ``PREFIXlayer4``.

    Raises:
        UserError: The numbers of blocks are not those of a ResNet-50, 101 or 152.
    """
    block = re.compile(re.escape(prefix) + r'layer([1-4])\.\d+\.')
    # Whole matches identify blocks, their first groups stages.
    blocks = {(match[0], match[1]) for match in map(block.match, state_dict) if match}
    counts = tuple([stage for _, stage in blocks].count(stage) for stage in '1234')
    if counts not in _DEPTHS:
        known = ', '.join(f'ResNet-{depth} has {blocks}' for blocks, depth in _DEPTHS.items())
        raise UserError(
            f'its backbone has {counts} blocks in {prefix}layer1 to {prefix}layer4, but '
            f'{known}; use a complete checkpoint of one of these.'
        )
    return _DEPTHS[counts]


def has_entries(state_dict: Iterable[str], *prefixes: str) -> bool:
    """Return whether any name in a state dict starts with one of the prefixes."""
    return any(key.startswith(prefixes) for key in state_dict)
