"""The data sets, backbones and published networks, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmseg_encnet.checkpoints.shipped_weights import shipped_networks
from mmseg_encnet.errors import UserError


@dataclass(frozen=True)
class Backbone:
    """A backbone by its registered name, its size and its weights.

    Attributes:
        kind: Registered name.
        depth: Layers of a ResNet, 50, 101 or 152, or variant of an EfficientNet-Lite, 0 to 2.
        weights: Address of its ImageNet weights; ``{root}`` is replaced by the folder of downloads.
    """

    kind: str
    depth: int
    weights: str


# The 64-64-128 stem of the published networks, and the 7x7 stem of torchvision's ResNet.
_PUBLISHED_WEIGHTS = 'pytorch-encoding://{root}/'
_TORCHVISION_WEIGHTS = 'https://download.pytorch.org/models/'
BACKBONES = {
    'resnet50s': Backbone('ResNetV1s', 50, _PUBLISHED_WEIGHTS + 'resnet50s'),
    'resnet101s': Backbone('ResNetV1s', 101, _PUBLISHED_WEIGHTS + 'resnet101s'),
    'resnet152s': Backbone('ResNetV1s', 152, _PUBLISHED_WEIGHTS + 'resnet152s'),
    'resnet50': Backbone('ResNet', 50, _TORCHVISION_WEIGHTS + 'resnet50-0676ba61.pth'),
    'resnet101': Backbone('ResNet', 101, _TORCHVISION_WEIGHTS + 'resnet101-63fe2227.pth'),
    'resnet152': Backbone('ResNet', 152, _TORCHVISION_WEIGHTS + 'resnet152-394f9c45.pth'),
    'lite0': Backbone('EfficientNetLite', 0, 'package://efficientnet-lite0'),
    'lite1': Backbone('EfficientNetLite', 1, 'package://efficientnet-lite1'),
    'lite2': Backbone('EfficientNetLite', 2, 'package://efficientnet-lite2'),
}

# Data sets by the name of their config base, and whether the original has lateral connections.
DATASETS = {
    'pcontext': True,
    'pcontext60': True,
    'voc12': True,
    'voc12aug': True,
    'ade20k': False,
    'cityscapes': False,
    'coco21': False,
    'cocostuff164k': False,
    'camvid': False,
    'clothing': False,
    'msrc21': False,
}
# The original's names of data sets, and the backbones as the configs call them.
_ALIASES = {
    'pascal_voc': 'voc12',
    'pascal_aug': 'voc12aug',
    'citys': 'cityscapes',
    'coco': 'coco21',
    'r50': 'resnet50s',
    'r101': 'resnet101s',
    'r152': 'resnet152s',
}

_PUBLISHED = {
    (dataset, backbone): f'encnet_{backbone}_{acronym}'
    for dataset, acronym in (('pcontext', 'pcontext'), ('ade20k', 'ade'))
    for backbone in ('resnet50s', 'resnet101s')
}
# Networks whose sizes differ from those of their data set.
_CONFIG_BASES = {
    ('ade20k', 'resnet101s'): 'ade20k_576',
    **{
        (dataset, backbone): f'{dataset}_{size}'
        for dataset, size in (('msrc21', 480), ('clothing', 480), ('camvid', 416))
        for backbone in ('lite0', 'lite1', 'lite2')
    },
}


def dataset_name(name: str) -> str:
    """Return the name of a data set's config base.

    Raises:
        UserError: The data set is unknown.
    """
    return _known(name, DATASETS, 'data set')


def backbone_name(name: str) -> str:
    """Return a backbone's key in :data:`BACKBONES`.

    Raises:
        UserError: The backbone is unknown.
    """
    return _known(name, BACKBONES, 'backbone')


def config_base(dataset: str, backbone: str) -> str:
    """Return the file name of the data set config with the sizes of this network."""
    return f'{_CONFIG_BASES.get((dataset, backbone), dataset)}.py'


def shipped_name(dataset: str, backbone: str) -> str | None:
    """Return the name of the trained network of a pair that ships, or None."""
    name = f'encnet_{backbone}_{dataset}'
    return name if name in shipped_networks() else None


def published_name(dataset: str, backbone: str) -> str:
    """Return the name under which PyTorch-Encoding publishes the weights of a pair.

    Raises:
        UserError: There are none.
    """
    if (dataset, backbone) in _PUBLISHED:
        return _PUBLISHED[dataset, backbone]
    if BACKBONES[backbone].kind == 'EfficientNetLite':
        networks = ', '.join(shipped_networks())
        raise UserError(
            f'no trained EncNet ships for {dataset} with {backbone}, only {networks}; train the '
            'config or load your own file with pretrained=PATH.'
        )
    if dataset == 'cityscapes':
        depth = min(BACKBONES[backbone].depth, 101)
        nearest = (
            f'use the config encnet_r{depth}v1c_cityscapes with the weights of MMSegmentation '
            'that configs/metafile.yml lists'
        )
    else:
        other = dataset if (dataset, 'resnet50s') in _PUBLISHED else 'pcontext'
        close = f'resnet{min(BACKBONES[backbone].depth, 101)}s'
        nearest = f'use get_encnet({other!r}, {close!r}, pretrained=True)'
    raise UserError(
        f'no EncNet weights are published for {dataset} with {backbone}; {nearest}, or load your '
        'own file with pretrained=PATH.'
    )


def _known(name: str, known: Mapping[str, Any], kind: str) -> str:
    found = _ALIASES.get(name.lower(), name.lower()) if isinstance(name, str) else None
    if found not in known:
        raise UserError(f'unknown {kind} {name!r}; choose one of {", ".join(known)}.')
    return found
