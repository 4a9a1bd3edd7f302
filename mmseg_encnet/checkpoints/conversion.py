"""Convert EncNet checkpoints of other frameworks.

Supported are PyTorch-Encoding (EncNets and ImageNet backbones), FastFCN and MMSegmentation,
recognised by the names in the file. Unknown or incomplete files are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmseg_encnet.checkpoints.architecture import (
    Architecture,
    build,
    has_entries,
    resnet_depth,
)
from mmseg_encnet.checkpoints.files import read_checkpoint, write_checkpoint
from mmseg_encnet.checkpoints.layouts import (
    from_original,
    original_backbone_key,
    original_key,
)
from mmseg_encnet.checkpoints.remote import local_file
from mmseg_encnet.errors import UserError, about


@dataclass
class Conversion:
    """Converted weights, with an account of every entry of the source.

    Attributes:
        source: Framework the weights come from.
        content: Description of the network.
        state_dict: Weights with the names of our model.
        used: Our name of each used entry, by its name in the source.
        left: Reason why an entry was not used, by its name in the source.
        added: Value of each entry that older sources lack, by our name.
        architecture: Switches of the network, if the source determines all of them.
    """

    source: str
    content: str
    state_dict: dict[str, Tensor]
    used: dict[str, str]
    left: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)
    architecture: Architecture | None = None

    def report(self, verbose: bool = False) -> Iterator[str]:
        """Yield lines that count the entries of the source and list those that were not used.

        Args:
            verbose: Whether to list every entry, including the used ones, one line per layer, and
                the added ones.
        """
        yield f'{self.source}: {self.content}'
        yield f'{len(self.used)} entries used{":" if verbose else ""}'
        if verbose:
            layers: dict[tuple[str, str], list[str]] = {}
            for theirs, ours in self.used.items():
                (layer, _, entry), new_layer = theirs.rpartition('.'), ours.rpartition('.')[0]
                layers.setdefault((layer, new_layer), []).append(entry)
            for (layer, new_layer), entries in layers.items():
                yield f'  {layer} ({", ".join(entries)}) -> {new_layer}'
        for title, entries, listed in (
            ('not used', self.left, True),
            ('added', self.added, verbose),
        ):
            yield f'{len(entries)} entries {title}{":" if entries and listed else ""}'
            if listed:
                for key, reason in entries.items():
                    yield f'  {key}: {reason}'


def convert_checkpoint(
    source: str | Path, target: str | Path, dataset_meta: Mapping[str, Any] | None = None
) -> Conversion:
    """Convert a file. The target is written completely or not at all.

    Args:
        source: Checkpoint of PyTorch-Encoding, FastFCN or MMSegmentation, the zip file in which
            it was published, or the address of either.
        target: Checkpoint to write, for ``tools/test.py`` and ``load_from``; for an ImageNet
            backbone, for ``init_cfg=dict(type='Pretrained', checkpoint=target)``.
        dataset_meta: ``classes`` and ``palette`` of the training data, used if the source does not
            hold them. The toolbox's inferencer names and colours its predictions with them.

    Raises:
        UserError: The source cannot be read, is not a recognised EncNet, or is incomplete.
    """
    source, target = local_file(source), Path(target)
    conversion, meta = _convert_file(source)
    meta = dict(meta, source=conversion.source, content=conversion.content)
    if dataset_meta is not None:
        meta.setdefault('dataset_meta', dict(dataset_meta))
    # mmsegmentation before 1.0 stored the class names under the names of the class attributes.
    if 'dataset_meta' not in meta and {'CLASSES', 'PALETTE'} <= meta.keys():
        meta['dataset_meta'] = dict(classes=meta['CLASSES'], palette=meta['PALETTE'])
    write_checkpoint(target, dict(meta=meta, state_dict=conversion.state_dict))
    return conversion


def load_converted(source: str | Path) -> Conversion:
    """Convert a file in memory; see :func:`convert_checkpoint`."""
    return _convert_file(source)[0]


def convert_state_dict(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Convert a state dict of any supported framework.

    Raises:
        UserError: The state dict is not that of a recognised EncNet, or is incomplete.
    """
    for prefixes, convert in _KINDS:
        if all(has_entries(state_dict, prefix) for prefix in prefixes):
            return convert(state_dict)
    shown = ', '.join(list(state_dict)[:5])
    raise UserError(
        f'it is not a recognised EncNet checkpoint: got {len(state_dict)} entries that start with '
        f'{shown}, expected the entries of PyTorch-Encoding or FastFCN (pretrained.* and '
        'head.encmodule.*), of MMSegmentation (backbone.* and decode_head.enc_module.*) or of a '
        'PyTorch-Encoding backbone (conv1.0.weight and layer1.*); use one of these.'
    )


def _convert_file(source: str | Path) -> tuple[Conversion, dict[str, Any]]:
    state_dict, meta = read_checkpoint(source)
    with about(f'checkpoint {source} cannot be converted:'):
        return convert_state_dict(state_dict), meta


def _convert_original(state_dict: Mapping[str, Tensor]) -> Conversion:
    if has_entries(state_dict, 'jpu.jum_'):
        raise UserError(
            "it has FastFCN's JPU_X neck (jpu.jum_1.*), which MMSegmentation lacks; "
            'use a checkpoint with the JPU neck.'
        )
    architecture = Architecture.of_original(state_dict)
    entries = _rename(state_dict, architecture.shapes(), original_key)
    framework = 'FastFCN' if architecture.jpu else 'PyTorch-Encoding'
    return Conversion(framework, architecture.name, *entries, architecture)


def _convert_backbone(state_dict: Mapping[str, Tensor]) -> Conversion:
    depth = resnet_depth(state_dict, '')
    with torch.device('meta'):
        backbone = build(dict(type='ResNetV1s', depth=depth))
    shapes = {key: value.shape for key, value in backbone.state_dict().items()}
    entries = _rename(state_dict, shapes, original_backbone_key)
    return Conversion('PyTorch-Encoding', f'ImageNet backbone ResNetV1s-{depth}', *entries)


def _rename(
    state_dict: Mapping[str, Tensor],
    shapes: Mapping[str, torch.Size],
    source_key: Callable[[str], str],
) -> tuple[dict[str, Tensor], dict[str, str], dict[str, str], dict[str, str]]:
    """Return the fields of a :class:`Conversion` that account for every entry of both models."""
    converted, used, added, wrong = {}, {}, {}, []
    for key, shape in shapes.items():
        theirs = source_key(key)
        if theirs in state_dict:
            value = from_original(key, state_dict[theirs])
            if value.shape != shape:
                wrong.append(f'{theirs} of shape {tuple(shape)} (got {tuple(value.shape)})')
            converted[key], used[theirs] = value, key
        elif key.endswith('num_batches_tracked'):
            # Only norms without momentum use it.
            converted[key], added[key] = torch.tensor(0), 'zero, absent before PyTorch 0.4.1'
        else:
            wrong.append(theirs)
    if wrong:
        raise UserError(
            f'it lacks {len(wrong)} of {len(shapes)} entries: {", ".join(wrong)}; use a complete '
            'checkpoint.'
        )
    left = {key: _why_left(key) for key in state_dict if key not in used}
    return converted, used, left, added


def _why_left(key: str) -> str:
    if key.removeprefix('pretrained.').startswith('fc.'):
        return 'ImageNet classifier, not used for segmentation'
    return 'not part of this EncNet'


def _pass_mmseg(state_dict: Mapping[str, Tensor]) -> Conversion:
    missing = [key for key in _expected_in_mmseg(state_dict) if key not in state_dict]
    if missing:
        raise UserError(
            f'it lacks {len(missing)} entries: {", ".join(missing)}; use a complete checkpoint.'
        )
    num_classes = state_dict['decode_head.conv_seg.weight'].shape[0]
    return Conversion(
        source='MMSegmentation',
        content=f'EncNet with {num_classes} classes, names unchanged',
        state_dict=dict(state_dict),
        used={key: key for key in state_dict},
    )


def _expected_in_mmseg(state_dict: Mapping[str, Tensor]) -> list[str]:
    """Return the required entries; those of the backbone only for EncNet's own ResNets."""
    has = state_dict.keys()
    residual = {'backbone.stem.0.weight', 'backbone.layer1.0.conv2.weight'} <= has and not any(
        '.downsample.2.' in key for key in has
    )
    bottleneck = residual and has_entries(has, 'backbone.layer1.0.conv3.')
    expected = Architecture(
        depth=resnet_depth(state_dict, 'backbone.') if bottleneck else 50,
        num_classes=1,
        lateral=has_entries(has, 'decode_head.lateral', 'decode_head.fusion'),
        se_loss=has_entries(has, 'decode_head.se_layer.'),
        aux=False,
        jpu=has_entries(has, 'neck.dilation_layers.'),
    ).shapes()
    prefixes = ('decode_head.', 'neck.') + ('backbone.',) * bottleneck
    # Names of norm layers contain their type, and group norm has no running statistics.
    norm = '.gn.' if 'decode_head.bottleneck.gn.weight' in has else '.bn.'
    return [
        key.replace('.bn.', norm)
        for key in expected
        if key.startswith(prefixes)
        and not key.endswith('num_batches_tracked')
        and (norm == '.bn.' or '.running_' not in key)
    ]


# The prefixes by which a framework is recognised, and its conversion.
_KINDS = (
    (('pretrained.', 'head.encmodule.'), _convert_original),
    (('backbone.', 'decode_head.enc_module.'), _pass_mmseg),
    (('conv1.0.', 'layer1.'), _convert_backbone),
)
