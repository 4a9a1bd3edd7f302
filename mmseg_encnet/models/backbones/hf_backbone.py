"""Feature extractors of Hugging Face Transformers as backbones of the toolbox.

``transformers.AutoBackbone`` returns the features of vision transformers and convolutional networks
at chosen depths. Unlike there, images may have any size: they are padded to a size that the network
accepts, and the features are cropped so that they correspond to the image again.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.models.backbones.hf_files import (
    described_architecture,
    load_weights,
    named_architecture,
    transformers,
)
from mmseg_encnet.models.backbones.hf_geometry import Geometry, find_geometry

SCHEME = 'huggingface://'
_DEFAULT_SIZE = 224


@MODELS.register_module()
class HFBackbone(BaseModule):
    """A feature extractor of ``transformers.AutoBackbone``.

    Install it with the extra ``hf``. Files are looked for on this machine first, then on the hub;
    only configs and safetensors files are read, and code from the hub never runs.

    Args:
        name: Folder or name on the hub, such as ``'facebook/dinov2-small'``, of architecture and
            weights.
        config: Architecture as a dictionary with ``model_type`` and the entries of its config that
            differ from the default, instead of the architecture of ``name``; building then needs
            no file.
        out_indices: Depths to return, as numbered by ``stage_names`` of Transformers: 0 is the
            stem, i the i-th stage of a hierarchical network or the i-th layer of a plain vision
            transformer (PVTv2 counts its stages from 0). Default: the last one.
        frozen: Whether to keep the weights and the statistics of all norms. No activations are
            kept for the backward pass, and stochastic depth is off.
        with_cp: Whether to recompute activations in the backward pass, which needs less memory and
            more time.
        init_cfg: ``dict(type='Pretrained', checkpoint='huggingface://NAME')`` loads the weights of
            a folder or name on the hub in :meth:`init_weights`; the default with ``name``. Other
            checkpoints load as the toolbox does it. Without weights the initialisation is that of
            Transformers.

    Attributes:
        channels: Channels of each output.
        strides: Vertical and horizontal stride of each output.
        multiple: Images are padded on the right and at the bottom, with zeros, to a multiple of
            these numbers in height and width.

    Raises:
        UserError: Transformers is not installed, the architecture is not available, or an argument
            does not fit it.

    The output is a tuple of feature maps ``(B, C_i, H_i, W_i)`` with ``H_i`` the height divided by
    the stride, rounded up. For an image that needs no padding it equals that of Transformers. Else
    the features are sampled bilinearly at the positions where a grid of this size over the image
    has its cells.

    Parameters on which no output depends, such as mask tokens, do not require gradients.

    Example:
        >>> import torch
        >>> from mmseg_encnet.models import HFBackbone
        >>> config = dict(model_type='dinov2', hidden_size=32, num_attention_heads=2)
        >>> backbone = HFBackbone(config=config, out_indices=(6, 12)).eval()
        >>> [tuple(x.shape) for x in backbone(torch.rand(1, 3, 65, 98))]
        [(1, 32, 5, 7), (1, 32, 5, 7)]
    """

    def __init__(
        self,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        out_indices: Sequence[int] | None = None,
        frozen: bool = False,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        if name is None and config is None:
            raise UserError(
                "HFBackbone needs an architecture; pass name='facebook/dinov2-small' or another "
                'name or folder, or config=dict(model_type=...).'
            )
        if init_cfg is None and name is not None:
            init_cfg = dict(type='Pretrained', checkpoint=SCHEME + name)
        if init_cfg is not None and init_cfg.get('type') != 'Pretrained':
            raise UserError(
                f'init_cfg of HFBackbone must have the type Pretrained, got {init_cfg!r}.'
            )
        super().__init__(init_cfg)
        architecture = described_architecture(config) if config else named_architecture(str(name))
        _choose_outputs(architecture, out_indices)
        # Weights are stored in other precisions, too.
        architecture.dtype = torch.float32
        try:
            self.model = transformers().AutoBackbone.from_config(architecture)
        except (ImportError, TypeError, ValueError) as error:
            raise UserError(
                f'HFBackbone cannot build {architecture.model_type}: {" ".join(str(error).split())}'
            ) from error
        # Not those that Transformers states, which are wrong for FocalNet.
        geometry = _geometry(self.model)
        self.channels, self.strides = geometry.channels, geometry.strides
        self.multiple, self.fixed_size = geometry.multiple, geometry.fixed_size
        for unused in geometry.unused:
            self.model.get_parameter(unused).requires_grad_(False)
        self.frozen = frozen
        if frozen:
            self.model.requires_grad_(False)
        if with_cp:
            self._recompute()
        self.train(self.training)

    def init_weights(self) -> None:
        checkpoint = (self.init_cfg or {}).get('checkpoint', '')
        if checkpoint.startswith(SCHEME):
            name = checkpoint.removeprefix(SCHEME)
            try:
                self.model.load_state_dict(load_weights(name, self.model))
            except RuntimeError as error:
                raise UserError(
                    f'the weights of {name} are for three channels, got num_channels='
                    f"{self.model.config.num_channels}; add dict(type='WidenInputHook') to "
                    'custom_hooks.'
                ) from error
            self._is_init = True
        elif checkpoint:
            super().init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            size = (int(x.shape[-2]), int(x.shape[-1]))
            padded = self._padded(size)
            if padded != size:
                x = F.pad(x, (0, padded[1] - size[1], 0, padded[0] - size[0]))
            features = _extract(self.model, x)
            if padded == size:
                return features
            grids = [(-(-size[0] // down), -(-size[1] // right)) for down, right in self.strides]
            return tuple(_crop(f, size, padded, grid) for f, grid in zip(features, grids))

    def train(self, mode: bool = True) -> HFBackbone:
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    def _padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size to which an image of a size is padded."""
        if self.fixed_size is None:
            height, width = (-(-side // step) * step for side, step in zip(size, self.multiple))
            return height, width
        if size[0] > self.fixed_size[0] or size[1] > self.fixed_size[1]:
            raise UserError(
                f'{type(self.model).__name__} accepts images of up to {self.fixed_size[0]} x '
                f'{self.fixed_size[1]} pixels, got {size[0]} x {size[1]}; use crops and windows of '
                'that size, or image_size in the config of a network trained from scratch.'
            )
        return self.fixed_size

    def _recompute(self) -> None:
        if not self.model.supports_gradient_checkpointing:
            raise UserError(f'{type(self.model).__name__} does not support with_cp=True; omit it.')
        enable = getattr(self.model, 'activation_checkpointing_enable', None)
        # The name in the first releases of Transformers 5.
        (enable or self.model.gradient_checkpointing_enable)(dict(use_reentrant=False))


def _choose_outputs(architecture: Any, out_indices: Sequence[int] | None) -> None:
    stages = list(architecture.stage_names)
    indices = [len(stages) - 1] if out_indices is None else list(out_indices)
    if not indices or any(
        isinstance(index, bool) or not isinstance(index, int) or index not in range(len(stages))
        for index in indices
    ):
        raise UserError(
            f'out_indices of HFBackbone must be from 0 to {len(stages) - 1} for '
            f'{architecture.model_type} ({", ".join(stages)}), got {indices}.'
        )
    if indices != sorted(set(indices)):
        raise UserError(f'out_indices of HFBackbone must ascend, got {indices}.')
    # The features of plain vision transformers are sequences otherwise.
    if hasattr(architecture, 'reshape_hidden_states'):
        architecture.reshape_hidden_states = True
    architecture.out_indices = indices


def _extract(model: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    features = tuple(model(x).feature_maps)
    if any(feature.dim() != 4 for feature in features):
        raise UserError(f'{type(model).__name__} returns no feature maps; choose another network.')
    return features


def _geometry(model: Any) -> Geometry:
    """Return the geometry of a model without running it on data, where that is possible."""
    config = model.config
    size = getattr(config, 'image_size', None) or _DEFAULT_SIZE
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    patch = getattr(config, 'patch_size', 1) or 1
    patch = patch if isinstance(patch, int) else math.lcm(*patch)
    facts = (getattr(config, 'num_channels', 3), patch, (height, width))
    try:
        with torch.device('meta'):
            skeleton = type(model)(copy.deepcopy(config)).to('meta').eval()
        return find_geometry(skeleton, _extract, *facts)
    except NotImplementedError:
        # An operation that reads values.
        return find_geometry(copy.deepcopy(model).eval(), _extract, *facts)


def _crop(
    features: Tensor, size: tuple[int, int], padded: tuple[int, int], grid: tuple[int, int]
) -> Tensor:
    """Sample the features of a padded image where a grid over the image has its cells.

    Args:
        features: ``(B, C, H, W)`` over the padded image.
        size, padded: Height and width of the image without and with padding, in pixels.
        grid: Height and width of the result.
    """
    down, right = size[0] / padded[0], size[1] / padded[1]
    # In coordinates from -1 to 1, the image begins at -1.
    to_padded = torch.tensor(
        [[[right, 0.0, right - 1.0], [0.0, down, down - 1.0]]], device=features.device
    ).expand(len(features), 2, 3)
    # Half precision is too coarse for positions.
    positions = F.affine_grid(to_padded, [len(features), 1, *grid], align_corners=False)
    sampled = F.grid_sample(features.float(), positions, padding_mode='border', align_corners=False)
    return sampled.to(features.dtype)
