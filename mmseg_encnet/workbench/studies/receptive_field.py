"""The receptive field of a backbone."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


def receptive_field(backbone: nn.Module, width: int = 1024) -> int:
    """Return the width of the receptive field of the last feature map, in input columns.

    It is measured by automatic differentiation of a copy of the network in which no weight can
    hide a connection: all weights of a layer are equal and positive, and norms are the identity.
    Max pooling of equal values has the gradient of one of them, so its width is not included.

    Args:
        backbone: A network that maps ``(B, 3, H, W)`` to feature maps.
        width: Columns of the probe image, an upper bound of the result.
    """
    backbone = deepcopy(backbone).cpu().double()
    # Not chained, because eval() of mmseg's ResNet returns None.
    backbone.eval()
    with torch.no_grad():
        for module in backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_running_stats()
                module.reset_parameters()
        for parameter in backbone.parameters():
            if parameter.dim() > 1:
                parameter.fill_(1 / parameter[0].numel())
    # As few rows as the networks accept.
    image = torch.ones(1, 3, 32, width, dtype=torch.float64, requires_grad=True)
    features = backbone(image)[-1]
    middle = features[:, :, features.shape[2] // 2, features.shape[3] // 2]
    (gradient,) = torch.autograd.grad(middle.sum(), image)
    columns = gradient.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    return int(columns[-1] - columns[0] + 1)
