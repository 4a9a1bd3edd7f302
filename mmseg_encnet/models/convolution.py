"""The convolutions of the backbone and of the heads."""

from __future__ import annotations

from mmengine.registry import MODELS

from mmseg_encnet.nn import DepthwiseConv2d, WinogradConv2d

# The toolbox looks for convolutions from the root, whatever the default scope is.
MODELS.register_module(module=DepthwiseConv2d)
MODELS.register_module(module=WinogradConv2d)


def default_convolution(conv_cfg: dict | None) -> dict:
    """Return a config of convolutions, by default that of :class:`WinogradConv2d`."""
    return dict(type='WinogradConv2d') if conv_cfg is None else conv_cfg
