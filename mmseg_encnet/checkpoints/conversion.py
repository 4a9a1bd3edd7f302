"""From the EncNet checkpoints of other frameworks to ours.

Read are PyTorch-Encoding (EncNets and ImageNet backbones), FastFCN and MMSegmentation. Which it
is follows from the names in the file. What is not known or not whole is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmseg_encnet.checkpoints.architecture import Architecture, build, resnet_depth
from mmseg_encnet.checkpoints.files import read_checkpoint, write_checkpoint
from mmseg_encnet.checkpoints.layouts import backbone_key, from_original, original_key
from mmseg_encnet.errors import UserError


@dataclass
class Conversion:
    """Weights under our names, and what became of every entry of the source.

    Attributes:
        source: The framework the weights come from.
        content: What they are, in words.
        state_dict: The weights under the names of our model.
        used: Names in the source and what they became.
        left: Names in the source that were not used, and why.
        added: Our names that the source lacks without being incomplete, and what they were set to.
        architecture: The switches of the network, where the source tells all of them.
    """

    source: str
    content: str
    state_dict: dict[str, Tensor]
    used: dict[str, str]
    left: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)
    architecture: Architecture | None = None

    def report(self) -> Iterator[str]:
        """Lines that account for every entry of the source, by layer where all of it was used."""
        yield f'{self.source}: {self.content}'
        layers: dict[tuple[str, str], list[str]] = {}
        for theirs, ours in self.used.items():
            (layer, _, entry), new_layer = theirs.rpartition('.'), ours.rpartition('.')[0]
            layers.setdefault((layer, new_layer), []).append(entry)
        yield f'{len(self.used)} entries used:'
        for (layer, new_layer), entries in layers.items():
            yield f'  {layer} ({", ".join(entries)}) -> {new_layer}'
        for title, entries in (('left', self.left), ('added', self.added)):
            yield f'{len(entries)} entries {title}{":" if entries else ""}'
            for key, reason in entries.items():
                yield f'  {key}: {reason}'


def convert_checkpoint(
    source: str | Path, target: str | Path, dataset_meta: Mapping[str, Any] | None = None
) -> Conversion:
    """Convert a file. The target is written whole, or not at all.

    Args:
        source: Checkpoint of PyTorch-Encoding, FastFCN or MMSegmentation.
        target: Checkpoint to write, for ``tools/test.py`` and ``load_from``; of an ImageNet
            backbone, for ``init_cfg=dict(type='Pretrained', checkpoint=target)``.
        dataset_meta: ``classes`` and ``palette`` of the data set it was trained on, if the source
            does not tell. The toolbox's inferencer names and colours its predictions after them.

    Raises:
        UserError: If the source cannot be read, is unknown, or lacks something.
    """
    source, target = Path(source), Path(target)
    conversion, meta = _convert_file(source)
    meta = dict(meta, source=conversion.source, content=conversion.content)
    if dataset_meta is not None:
        meta.setdefault('dataset_meta', dict(dataset_meta))
    # mmsegmentation before 1.0 wrote the class names under the names of the class attributes.
    if 'dataset_meta' not in meta and {'CLASSES', 'PALETTE'} <= meta.keys():
        meta['dataset_meta'] = dict(classes=meta['CLASSES'], palette=meta['PALETTE'])
    write_checkpoint(target, dict(meta=meta, state_dict=conversion.state_dict))
    return conversion


def load_converted(source: str | Path) -> Conversion:
    """Convert a file in memory; see :func:`convert_checkpoint`."""
    return _convert_file(Path(source))[0]


def convert_state_dict(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Convert a state dict of any known framework.

    Raises:
        UserError: If it is unknown, or lacks something.
    """
    for is_it, convert in _KINDS:
        if is_it(state_dict):
            return convert(state_dict)
    shown = ', '.join(list(state_dict)[:5])
    raise UserError(
        f'it is no EncNet that is known: its {len(state_dict)} names start with {shown}; known are '
        'PyTorch-Encoding and FastFCN (it lacks pretrained.* and head.encmodule.*), MMSegmentation '
        "(it lacks backbone.* and decode_head.enc_module.*) and PyTorch-Encoding's ImageNet "
        'backbones (it lacks conv1.0.weight and layer1.*).'
    )


def _convert_file(source: Path) -> tuple[Conversion, dict[str, Any]]:
    state_dict, meta = read_checkpoint(source)
    try:
        return convert_state_dict(state_dict), meta
    except UserError as error:
        raise UserError(f'checkpoint {source} cannot be converted: {error}') from error


def _convert_original(state_dict: Mapping[str, Tensor]) -> Conversion:
    if any(key.startswith('jpu.jum_') for key in state_dict):
        raise UserError(
            "it has FastFCN's JPU_X neck (jpu.jum_1.*), which MMSegmentation lacks; "
            'take a checkpoint with the JPU neck.'
        )
    architecture = Architecture.of_original(state_dict)
    framework = 'FastFCN' if architecture.jpu else 'PyTorch-Encoding'
    conversion = _rename(state_dict, architecture.shapes(), original_key)
    conversion.source = framework
    conversion.content = architecture.name
    conversion.architecture = architecture
    return conversion


def _convert_backbone(state_dict: Mapping[str, Tensor]) -> Conversion:
    depth = resnet_depth(state_dict, '')
    with torch.device('meta'):
        backbone = build(dict(type='ResNetV1s', depth=depth))
    shapes = {key: value.shape for key, value in backbone.state_dict().items()}
    conversion = _rename(state_dict, shapes, backbone_key)
    conversion.source = 'PyTorch-Encoding'
    conversion.content = f'ImageNet backbone ResNetV1s-{depth}'
    return conversion


def _rename(
    state_dict: Mapping[str, Tensor],
    shapes: Mapping[str, torch.Size],
    source_key: Callable[[str], str],
) -> Conversion:
    """Fill the entries of our model from the source, and account for all of both."""
    converted, used, added, wrong = {}, {}, {}, []
    for key, shape in shapes.items():
        theirs = source_key(key)
        if theirs in state_dict:
            value = from_original(key, state_dict[theirs])
            if value.shape != shape:
                wrong.append(f'{theirs} of shape {tuple(shape)} (it has {tuple(value.shape)})')
            converted[key], used[theirs] = value, key
        elif key.endswith('num_batches_tracked'):
            # PyTorch before 0.4.1 did not count; the count only serves norms without momentum.
            converted[key], added[key] = torch.tensor(0), 'zero, PyTorch did not count it yet'
        else:
            wrong.append(theirs)
    if wrong:
        raise UserError(
            f'it lacks {len(wrong)} of {len(shapes)} entries: {", ".join(wrong)}; take '
            'a complete checkpoint.'
        )
    left = {key: _why_left(key) for key in state_dict if key not in used}
    return Conversion('', '', converted, used, left, added)


def _why_left(key: str) -> str:
    if key.removeprefix('pretrained.').startswith('fc.'):
        return 'classifier of ImageNet, which segmentation does not use'
    return 'no part of this EncNet reads it'


def _pass_mmseg(state_dict: Mapping[str, Tensor]) -> Conversion:
    missing = [key for key in _expected_in_mmseg(state_dict) if key not in state_dict]
    if missing:
        raise UserError(
            f'it lacks {len(missing)} entries: {", ".join(missing)}; take a complete checkpoint.'
        )
    num_classes = state_dict['decode_head.conv_seg.weight'].shape[0]
    return Conversion(
        source='MMSegmentation',
        content=f'EncNet of {num_classes} classes, whose names are ours',
        state_dict=dict(state_dict),
        used={key: key for key in state_dict},
    )


def _expected_in_mmseg(state_dict: Mapping[str, Tensor]) -> list[str]:
    """What has to be there. Only a ResNet as EncNet's own configs have it is known to the last."""
    has = state_dict.keys()
    residual = {'backbone.stem.0.weight', 'backbone.layer1.0.conv2.weight'} <= has and not any(
        '.downsample.2.' in key for key in has
    )
    bottleneck = residual and any(key.startswith('backbone.layer1.0.conv3.') for key in has)
    expected = Architecture(
        depth=resnet_depth(state_dict, 'backbone.') if bottleneck else 50,
        num_classes=1,
        lateral=any(key.startswith(('decode_head.lateral', 'decode_head.fusion')) for key in has),
        se_loss=any(key.startswith('decode_head.se_layer.') for key in has),
        aux=False,
        jpu=any(key.startswith('neck.dilation_layers.') for key in has),
    ).shapes()
    prefixes = ('decode_head.', 'neck.') + ('backbone.',) * bottleneck
    # A layer's norm is named after its type, and group norm has no running statistics.
    norm = '.gn.' if 'decode_head.bottleneck.gn.weight' in has else '.bn.'
    return [
        key.replace('.bn.', norm)
        for key in expected
        if key.startswith(prefixes)
        and not key.endswith('num_batches_tracked')
        and (norm == '.bn.' or '.running_' not in key)
    ]


def _any_starts(*prefixes: str) -> Callable[[Mapping[str, Tensor]], bool]:
    return lambda state_dict: all(
        any(key.startswith(prefix) for key in state_dict) for prefix in prefixes
    )


# Tests of what the names are, and what then to do.
_KINDS = (
    (_any_starts('pretrained.', 'head.encmodule.'), _convert_original),
    (_any_starts('backbone.', 'decode_head.enc_module.'), _pass_mmseg),
    (_any_starts('conv1.0.', 'layer1.'), _convert_backbone),
)
