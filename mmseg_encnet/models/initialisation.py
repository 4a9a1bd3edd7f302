"""PyTorch's default initialisation as an ``init_cfg`` of the toolbox.

The heads of PyTorch-Encoding and FastFCN keep it: their code contains no initialisation for them.
"""

from __future__ import annotations

from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn


@WEIGHT_INITIALIZERS.register_module('PyTorchDefault')
class PyTorchDefaultInit:
    """Initialise all layers of a module as PyTorch does when it creates them.

    Weights and biases of convolutions and linear layers are uniform within
    ``1 / sqrt(fan_in)``; norms have scale 1 and shift 0. Without it, the toolbox draws the
    convolutions of its heads from a normal distribution by the fan-out (Kaiming), and classifiers
    from one with standard deviation 0.01. Parameters of modules without ``reset_parameters``,
    such as the codewords of :class:`mmseg_encnet.nn.Encoding`, remain as created. In a config::

        model = dict(decode_head=dict(init_cfg=dict(type='PyTorchDefault')))
    """

    def __call__(self, module: nn.Module) -> None:
        """Initialise ``module`` and everything in it."""
        for layer in module.modules():
            reset = getattr(layer, 'reset_parameters', None)
            if callable(reset):
                reset()
            # The toolbox would otherwise initialise ConvModules in turn. It checks this flag.
            if layer is not module and hasattr(layer, 'init_weights'):
                layer.is_init = True  # type: ignore[assignment]
