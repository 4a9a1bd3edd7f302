"""Layer-wise learning rates for any backbone.

Clark et al., "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators", ICLR
2020, section 3.1 (for vision: Bao et al., "BEiT", ICLR 2022): the learning rate of a layer is that
of the heads times ``decay_rate`` to the power of its distance from the heads.
"""

from __future__ import annotations

import itertools
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from mmseg_encnet.errors import UserError

# Stages, and blocks within a stage.
_LEVELS = 2


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """Builds an optimiser whose learning rates decrease towards the input of the backbone.

    The toolbox's ``LearningRateDecayOptimizerConstructor`` supports ConvNeXt, BEiT and MAE only;
    this one finds the layers of any backbone, see :func:`layer_numbers`.

    Args:
        optim_wrapper_cfg: Config of the optimiser wrapper.
        paramwise_cfg: ``decay_rate``, the factor from a layer to the one before, above 0 and at
            most 1; and everything that the toolbox's default constructor takes, such as
            ``custom_keys``, whose factors are multiplied with those of the layers.

    Raises:
        UserError: ``decay_rate`` is missing or out of range.

    Example::

        optim_wrapper = dict(
            constructor='LayerDecayConstructor',
            paramwise_cfg=dict(decay_rate=0.8, norm_decay_mult=0.0),
        )
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        rate = (paramwise_cfg or {}).get('decay_rate')
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise UserError(
                'paramwise_cfg of LayerDecayConstructor needs a decay_rate above 0 and at most 1, '
                f'got {rate}.'
            )
        super().__init__(optim_wrapper_cfg, paramwise_cfg)

    def add_params(
        self, params: list[dict[str, Any]], module: nn.Module, prefix: str = '', **kwargs: Any
    ) -> None:
        super().add_params(params, module, prefix=prefix, **kwargs)
        if prefix:
            return
        backbone = module.backbone
        numbers = layer_numbers(backbone)
        last = max(numbers.values(), default=0)
        by_parameter = {id(value): numbers[name] for name, value in backbone.named_parameters()}
        for group in params:
            number = by_parameter.get(id(group['params'][0]))
            if number is not None:
                factor = self.paramwise_cfg['decay_rate'] ** (last + 1 - number)
                group['lr'] = group.get('lr', self.base_lr) * factor


def layer_numbers(backbone: nn.Module) -> dict[str, int]:
    """Return the number of the layer that each parameter of a backbone belongs to.

    A layer is an element of a list of modules, or of a sequence of modules of one type with
    children; of nested lists, such as the blocks of stages, two levels count. Layers are numbered
    from 1 in the order of their registration, which is that of the computation in the backbones of
    the toolbox, of Transformers, timm and MMPretrain. What is registered before all layers, such as
    the patch embedding, has number 0; what is registered after them belongs to the last.
    """
    layers = {name: _layer(backbone, name) for name, _ in backbone.named_parameters()}
    order: dict[str, int] = {}
    for layer in filter(None, layers.values()):
        order.setdefault(layer, len(order) + 1)
    numbers, seen = {}, False
    for name, layer in layers.items():
        seen = seen or layer is not None
        numbers[name] = order[layer] if layer else (len(order) if seen else 0)
    return numbers


def _layer(backbone: nn.Module, name: str) -> str | None:
    """Return the path of the layer of a parameter, None if it belongs to none."""
    parts = name.split('.')[:-1]
    found, levels, module = None, 0, backbone
    for path, part in zip(itertools.accumulate(parts, '{}.{}'.format), parts):
        if _lists_layers(module):
            found, levels = path, levels + 1
            if levels == _LEVELS:
                break
        module = getattr(module, part)
    return found


def _lists_layers(module: nn.Module) -> bool:
    if isinstance(module, nn.ModuleList):
        return True
    kinds = {type(child) for child in module.children()}
    return (
        isinstance(module, nn.Sequential)
        and len(kinds) == 1
        and any(True for child in module.children() for _ in child.children())
    )
