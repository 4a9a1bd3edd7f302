"""A convolution layer that is faster on CPUs where there are many channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmseg_encnet.ops.winograd import conv3x3

# With fewer channels the transforms take as long as they save, with fewer positions of an image the
# transform of the filters.
_FEWEST_CHANNELS = 256
_FEWEST_POSITIONS = 900
# Largest ratio of the tiles' area to that of the features; at 2.25 the products would be as many.
_LARGEST_PADDING = 1.4


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
        if not self._suits(input, weight):
            return super()._conv_forward(input, weight, bias)
        out = conv3x3(input, weight, self.dilation[0])
        return out if bias is None else out + bias[:, None, None]

    def _suits(self, x: Tensor, weight: Tensor) -> bool:
        if (
            torch.compiler.is_compiling()
            or torch.jit.is_tracing()
            or torch.is_autocast_enabled('cpu')
            or torch._C._functorch.peek_interpreter_stack() is not None  # type: ignore[attr-defined]
            or min(self.in_channels, self.out_channels) < _FEWEST_CHANNELS
            or self.kernel_size != (3, 3)
            or self.stride != (1, 1)
            or self.dilation[0] != self.dilation[1]
            or self.padding != self.dilation
            or self.padding_mode != 'zeros'
            or self.groups != 1
            or x.dim() != 4
            or x.device.type != 'cpu'
            or not x.dtype == weight.dtype == torch.float32
            or not x.is_contiguous(memory_format=torch.channels_last)
        ):
            return False
        block = 2 * self.dilation[0]
        height, width = x.shape[2:]
        tiled = -(-height // block) * -(-width // block) * block**2
        positions = height * width
        return positions >= _FEWEST_POSITIONS and tiled <= _LARGEST_PADDING * positions
