"""The number of channels of the images that a network takes."""

from __future__ import annotations

from torch import nn


def input_channels(backbone: nn.Module) -> int:
    """Return the input channels of the first convolution of a backbone, which reads the image."""
    return next(
        module.in_channels for module in backbone.modules() if isinstance(module, nn.Conv2d)
    )
