"""Depthwise convolution with faster gradients on CPUs.

oneDNN has no fast kernels for the gradients of dilated depthwise filters, nor for the gradient of
filters larger than 3x3: they take several times the forward pass. Both gradients are depthwise
convolutions themselves, for which the forward kernels are fast.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# With more dilation, a convolution with such a stride is slower than oneDNN's own gradient.
_LARGEST_STRIDE = 2


def depthwise_conv2d(x: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """Convolve each channel with a filter of its own at stride 1, padded to keep the size.

    Equal to ``F.conv2d(x, weight, padding=dilation * (k // 2), dilation=dilation, groups=C)``;
    the gradients are equal up to rounding.

    Args:
        x: Features ``(B, C, H, W)``.
        weight: Filters ``(C, 1, k, k)`` of the same floating-point dtype, with an odd ``k``.
        dilation: Distance between the taps of a filter, in pixels.

    Returns:
        ``(B, C, H, W)``.

    Raises:
        ValueError: A shape or dtype does not match, or ``dilation`` is not positive.

    Example:
        >>> import torch
        >>> from mmseg_encnet.ops import depthwise_conv2d
        >>> depthwise_conv2d(torch.ones(1, 4, 6, 6), torch.ones(4, 1, 3, 3))[0, 0, 0]
        tensor([4., 6., 6., 6., 6., 4.])
    """
    if x.dim() != 4:
        raise ValueError(
            f'got x of shape {tuple(x.shape)}, expected (B, C, H, W); pass a feature map.'
        )
    size = weight.shape[-1] if weight.dim() else 0
    if weight.shape != (x.shape[1], 1, size, size) or size % 2 == 0 or weight.dtype != x.dtype:
        raise ValueError(
            f'got weight of dtype {weight.dtype} and shape {tuple(weight.shape)}, expected '
            f'({x.shape[1]}, 1, k, k) in {x.dtype} with an odd k; pass one filter per channel of x.'
        )
    if dilation < 1:
        raise ValueError(f'dilation must be positive, got {dilation}.')
    return _DepthwiseConv2d.apply(x, weight, dilation)


class _DepthwiseConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return _convolve(x, weight, dilation)

    # Made of differentiable functions, and thus differentiable itself.
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, _ = ctx.needs_input_grad
        return (
            _convolve(grad, weight.flip(2, 3), ctx.dilation) if of_x else None,
            _filter_gradient(x, grad, weight, ctx.dilation) if of_weight else None,
            None,
        )


def _convolve(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, padding=padding, dilation=dilation, groups=len(weight))


def _filter_gradient(x: Tensor, grad: Tensor, weight: Tensor, dilation: int) -> Tensor:
    batch, channels, height, width = x.shape
    padding = dilation * (weight.shape[-1] // 2)
    if dilation > _LARGEST_STRIDE or not x.numel():
        sizes = [padding] * 2, [dilation] * 2
        mask = [False, True, False]
        return torch.ops.aten.convolution_backward(
            grad, x, weight, None, [1, 1], *sizes, False, [0, 0], channels, mask
        )[1]
    # The gradient of each image is a filter as large as the image.
    per_image = F.conv2d(
        x.reshape(1, batch * channels, height, width),
        grad.reshape(batch * channels, 1, height, width),
        padding=padding,
        stride=dilation,
        groups=batch * channels,
    )
    return per_image.view(batch, *weight.shape).sum(0)
