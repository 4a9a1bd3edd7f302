"""How much of the picture a position of a feature map can depend on."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


def receptive_field(backbone: nn.Module, width: int = 1024, height: int = 32) -> int:
    """Columns of the input that the last feature map's middle position depends on.

    Measured by automatic differentiation, on a copy in which no weight can hide a connection: all
    weights of a layer are equal and positive, and norms pass on what they get.

    Args:
        backbone: A network ``(B, 3, H, W)`` -> feature maps, the last one counts.
        width: Columns of the probe; the answer is at most that.
        height: Its rows, as few as the network takes: rows would give the same answer.

    Returns:
        Number of columns.
    """
    backbone = deepcopy(backbone).cpu().double()
    # Not chained: mmseg's ResNet returns nothing from it.
    backbone.eval()
    with torch.no_grad():
        for module in backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_running_stats()
                module.reset_parameters()
        for parameter in backbone.parameters():
            if parameter.dim() > 1:
                parameter.fill_(1 / parameter[0].numel())
    image = torch.ones(1, 3, height, width, dtype=torch.float64, requires_grad=True)
    features = backbone(image)[-1]
    middle = features[:, :, features.shape[2] // 2, features.shape[3] // 2]
    (gradient,) = torch.autograd.grad(middle.sum(), image)
    columns = gradient.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    return int(columns[-1] - columns[0] + 1)
