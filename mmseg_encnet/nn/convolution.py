"""Convolution layers that are faster on CPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmseg_encnet.ops.depthwise import depthwise_conv2d
from mmseg_encnet.ops.winograd import conv3x3

# With fewer channels the transforms take as long as they save, with fewer positions of an image the
# transform of the filters.
_FEWEST_CHANNELS = 256
_FEWEST_POSITIONS = 900
# Largest ratio of the tiles' area to that of the features; at 2.25 the products would be as many.
_LARGEST_PADDING = 1.4
# Of the fast gradients of depthwise filters, and what autocast converts; float64 stays as it is.
_DTYPES = {torch.float32, torch.bfloat16}


class WinogradConv2d(nn.Conv2d):
    """``nn.Conv2d`` that chooses Winograd's filtering where that is faster.

    That is on a CPU, in float32 and channels-last layout, for 3x3 filters at stride 1 that keep the
    size, with 256 channels or more on both sides, and at least 900 positions in an image.
    Otherwise, and under autocast, ``torch.compile``, export, tracing and ``torch.func``, it is
    ``nn.Conv2d``. Arguments, parameters and state-dict keys are the same, results equal up to
    rounding.

    See :func:`mmseg_encnet.ops.winograd.conv3x3`.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not self._suits(input):
            return super()._conv_forward(input, weight, bias)
        out = conv3x3(input, weight, self.dilation[0])
        return out if bias is None else out + bias[:, None, None]

    def _suits(self, x: Tensor) -> bool:
        if (
            not _runs_plainly_on_a_cpu(self, x)
            or _computed_dtype(x, self.weight) != torch.float32
            or min(self.in_channels, self.out_channels) < _FEWEST_CHANNELS
            or self.kernel_size != (3, 3)
            or self.padding != self.dilation
            or self.groups != 1
            or not x.is_contiguous(memory_format=torch.channels_last)
        ):
            return False
        block = 2 * self.dilation[0]
        height, width = x.shape[2:]
        tiled = -(-height // block) * -(-width // block) * block**2
        positions = height * width
        return positions >= _FEWEST_POSITIONS and tiled <= _LARGEST_PADDING * positions


class DepthwiseConv2d(nn.Conv2d):
    """``nn.Conv2d`` that chooses faster gradients for depthwise filters where there are any.

    That is on a CPU, in float32 or bfloat16, also under autocast, for square filters at stride 1
    that keep the size, and are dilated or larger than 3x3. Otherwise, and under ``torch.compile``,
    export, tracing and ``torch.func``, it is ``nn.Conv2d``. Arguments, parameters and state-dict
    keys are the same; outputs are equal, gradients equal up to rounding.

    See :func:`mmseg_encnet.ops.depthwise.depthwise_conv2d`.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not self._suits(input):
            return super()._conv_forward(input, weight, bias)
        dtype = _computed_dtype(input, weight)
        out = depthwise_conv2d(input.to(dtype), weight.to(dtype), self.dilation[0])
        return out if bias is None else out + bias.to(dtype)[:, None, None]

    def _suits(self, x: Tensor) -> bool:
        size = self.kernel_size[0]
        return (
            _runs_plainly_on_a_cpu(self, x)
            and _computed_dtype(x, self.weight) in _DTYPES
            and self.groups == self.in_channels == self.out_channels
            and self.kernel_size == (size, size)
            and size % 2 == 1
            and (size > 3 or self.dilation[0] > 1)
            and self.padding == (self.dilation[0] * (size // 2),) * 2
        )


def _computed_dtype(x: Tensor, weight: Tensor) -> torch.dtype | None:
    """Return the dtype that a convolution on a CPU computes in; None for two without autocast."""
    dtypes = {x.dtype, weight.dtype}
    if torch.is_autocast_enabled('cpu') and dtypes <= _DTYPES:
        return torch.get_autocast_dtype('cpu')
    return x.dtype if len(dtypes) == 1 else None


def _runs_plainly_on_a_cpu(conv: nn.Conv2d, x: Tensor) -> bool:
    """Return whether a convolution of one stride and dilation computes on a CPU, and no
    transformation of PyTorch observes it."""
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and torch._C._functorch.peek_interpreter_stack() is None  # type: ignore[attr-defined]
        and x.dim() == 4
        and x.device.type == 'cpu'
        and conv.stride == (1, 1)
        and conv.dilation[0] == conv.dilation[1]
        and conv.padding_mode == 'zeros'
    )
