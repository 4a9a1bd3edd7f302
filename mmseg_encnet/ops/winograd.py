"""3x3 convolution by Winograd's minimal filtering F(2x2, 3x3).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), section 4: an
output tile of 2 x 2 follows from an input tile of 4 x 4 with 16 products per pair of channels
instead of 36. The transforms are additions; the products of all tiles are 16 matrix products. On
CPUs this is faster than the direct convolution from a few hundred channels on, and closer to the
result in double precision, because its sums have fewer terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Tiles are transformed in parts of about this many values, which stay in the cache and bound the
# memory.
_PART = 2**21
# The backward pass takes this many input channels at a time.
_CHANNELS = 512
# B^T of the paper: each row is one element of a tile plus or minus another.
_TILE = ((0, 2, -1), (1, 2, 1), (2, 1, -1), (1, 3, -1))
# G of the paper.
_FILTER = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))


def conv3x3(x: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """Convolve with 3x3 filters at stride 1, padded to keep the size.

    Equal to ``F.conv2d(x, weight, padding=dilation, dilation=dilation)`` up to rounding, with its
    gradients. An infinite value makes all outputs of its tile NaN.

    Args:
        x: Features ``(B, C, H, W)``, float32 or float64, best in channels-last layout.
        weight: Filters ``(O, C, 3, 3)`` of the same dtype.
        dilation: Distance between the taps of a filter, in pixels.

    Returns:
        ``(B, O, H, W)`` in channels-last layout.

    Raises:
        ValueError: A shape or dtype does not match, or ``dilation`` is not positive.

    Example:
        >>> import torch
        >>> from mmseg_encnet.ops import conv3x3
        >>> conv3x3(torch.ones(1, 4, 6, 6), torch.ones(2, 4, 3, 3))[0, 0, 0]
        tensor([16., 24., 24., 24., 24., 16.])
    """
    if x.dim() != 4 or x.dtype not in (torch.float32, torch.float64) or 0 in x.shape[1:]:
        raise ValueError(
            f'got x of dtype {x.dtype} and shape {tuple(x.shape)}, expected (B, C, H, W) in '
            'float32 or float64; pass a feature map.'
        )
    if weight.shape[1:] != (x.shape[1], 3, 3) or weight.dtype != x.dtype:
        raise ValueError(
            f'got weight of dtype {weight.dtype} and shape {tuple(weight.shape)}, expected '
            f'(O, {x.shape[1]}, 3, 3) in {x.dtype}; pass 3x3 filters for the channels of x.'
        )
    if dilation < 1:
        raise ValueError(f'dilation must be positive, got {dilation}.')
    return _Conv3x3.apply(x, weight, dilation)


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        tiling = _Tiling(x, dilation)
        filters = _transform_filters(weight).transpose(1, 2)
        out = x.new_empty(*tiling.output_shape, weight.shape[0])
        for part in tiling.parts():
            products = torch.bmm(tiling.tiles(x, part).view(16, -1, x.shape[1]), filters)
            tiling.write_output(products, out[part[0], part[1] : part[2]])
        return _channels_last(tiling.crop(out.flatten(1, 3).flatten(2, 4)).permute(0, 3, 1, 2))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, _ = ctx.needs_input_grad
        if torch.is_grad_enabled():
            # This backward pass is differentiable, which the transforms in place are not.
            size = [ctx.dilation] * 2
            gradients = torch.ops.aten.convolution_backward(
                grad,
                x,
                weight,
                None,
                [1, 1],
                size,
                size,
                False,
                [0, 0],
                1,
                [of_x, of_weight, False],
            )
            return gradients[0], gradients[1], None
        grad = _channels_last(grad)
        grad_x = torch.empty_like(x, memory_format=torch.channels_last) if of_x else None
        grad_weight = torch.empty_like(weight) if of_weight else None
        # In blocks, the transformed filters and their gradient take little memory.
        for first in range(0, x.shape[1], _CHANNELS):
            block = slice(first, first + _CHANNELS)
            found = _gradients(x[:, block], weight[:, block], grad, ctx.dilation, of_x, of_weight)
            for whole, values in zip((grad_x, grad_weight), found):
                if whole is not None and values is not None:
                    whole[:, block] = values
        return grad_x, grad_weight, None


def _gradients(
    x: Tensor, weight: Tensor, grad: Tensor, dilation: int, of_x: bool, of_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of the features and of the filters, where asked for."""
    tiling = _Tiling(x, dilation)
    filters = _transform_filters(weight)
    grad_filters = torch.zeros_like(filters) if of_weight else None
    padded = x.new_zeros(*tiling.input_shape, x.shape[1]) if of_x else None
    for part in tiling.parts():
        grad_products = tiling.output_gradient(grad, part)
        if padded is not None:
            tiles = torch.bmm(
                grad_products, filters, out=tiling.room(part).view(16, -1, x.shape[1])
            )
            tiling.add_input_gradient(tiles, padded, part)
        if grad_filters is not None:
            tiles = tiling.tiles(x, part).view(16, -1, x.shape[1])
            grad_filters.baddbmm_(grad_products.transpose(1, 2), tiles)
    if padded is not None:
        padded = tiling.crop(padded[:, dilation:, dilation:]).permute(0, 3, 1, 2)
    return padded, None if grad_filters is None else _filter_gradient(grad_filters)


class _Tiling:
    """The tiles of 4 x 4 values that overlap by two, of features in channels-last order.

    With a dilation d, the values of a tile are d pixels apart, and d x d tiles interleave. Rows of
    tiles thus have the shape ``(r, d, w, d)``: r rows and w columns of blocks of 2d x 2d outputs.
    """

    def __init__(self, x: Tensor, dilation: int) -> None:
        batch, channels, self.height, self.width = x.shape
        self.dilation = d = dilation
        self.rows, self.columns = -(-self.height // (2 * d)), -(-self.width // (2 * d))
        self.output_shape = (batch, self.rows, 2, d, self.columns, 2, d)
        # The last d rows and columns are never read; slices of whole blocks reach over them.
        self.input_shape = (batch, 2 * d * self.rows + 3 * d, 2 * d * self.columns + 3 * d)
        per_row = 16 * d * d * self.columns * channels
        self.rows_per_part = max(1, min(self.rows, _PART // per_row))
        self._tiles = x.new_empty(4, 4, self.rows_per_part, d, self.columns, d, channels)
        self._half = x.new_empty(self.rows_per_part, d, self.input_shape[2], channels)

    def parts(self) -> Iterator[tuple[int, int, int]]:
        """Yield image, first row and end of the rows of blocks of every part."""
        for image in range(self.output_shape[0]):
            for start in range(0, self.rows, self.rows_per_part):
                yield image, start, min(self.rows, start + self.rows_per_part)

    def tiles(self, x: Tensor, part: tuple[int, int, int]) -> Tensor:
        """Return the transformed tiles ``(4, 4, r, d, w, d, C)``, valid until the next call."""
        (image, start, end), d = part, self.dilation
        first, last = 2 * d * start - d, 2 * d * end + 2 * d
        inside = slice(max(first, 0), min(last, self.height))
        right = self.input_shape[2] - d - self.width
        rows = F.pad(
            x[image].permute(1, 2, 0)[inside],
            (0, 0, d, right, inside.start - first, last - inside.stop),
        )
        half, tiles = self._half[: end - start], self.room(part)
        for i, (a, b, sign) in enumerate(_TILE):
            torch.add(self._every(rows, 0, a), self._every(rows, 0, b), alpha=sign, out=half)
            for j, (p, q, other) in enumerate(_TILE):
                values = self._every(half, 2, p)
                torch.add(values, self._every(half, 2, q), alpha=other, out=tiles[i, j])
        return tiles

    def add_input_gradient(
        self, grad_tiles: Tensor, grad_x: Tensor, part: tuple[int, int, int]
    ) -> None:
        """Add the gradient of the features, from that of the transformed tiles."""
        (image, start, end), d = part, self.dilation
        grad_tiles = grad_tiles.view(4, 4, end - start, d, self.columns, d, -1)
        rows = grad_x[image, 2 * d * start : 2 * d * end + 3 * d]
        half = self._half[: end - start]
        for i, (a, b, sign) in enumerate(_TILE):
            half.zero_()
            for j, (p, q, other) in enumerate(_TILE):
                self._every(half, 2, p).add_(grad_tiles[i, j])
                self._every(half, 2, q).add_(grad_tiles[i, j], alpha=other)
            self._every(rows, 0, a).add_(half)
            self._every(rows, 0, b).add_(half, alpha=sign)

    def write_output(self, products: Tensor, out: Tensor) -> None:
        """Transform ``(16, T, O)`` products to outputs ``(r, 2, d, w, 2, d, O)``."""
        products = products.view(4, 4, -1, *out.shape[2:4], *out.shape[5:])
        first = products[0] + products[1] + products[2]
        second = products[1] - products[2] - products[3]
        for k, half in enumerate((first, second)):
            torch.add(half[1], half[2], out=out[:, k, :, :, 0]).add_(half[0])
            torch.sub(half[1], half[2], out=out[:, k, :, :, 1]).sub_(half[3])

    def output_gradient(self, grad: Tensor, part: tuple[int, int, int]) -> Tensor:
        """Return the gradient ``(16, T, O)`` of the products, from that of the outputs."""
        (image, start, end), d = part, self.dilation
        rows = grad[image].permute(1, 2, 0)[2 * d * start : 2 * d * end]
        right, below = 2 * d * self.columns - self.width, 2 * d * (end - start) - rows.shape[0]
        blocks = F.pad(rows, (0, 0, 0, right, 0, below)) if right or below else rows
        blocks = blocks.unflatten(1, (self.columns, 2, d)).unflatten(0, (end - start, 2, d))
        channels = grad.shape[1]
        products = grad.new_empty(4, 4, end - start, d, self.columns, d, channels)
        a, b = blocks[:, 0], blocks[:, 1]
        for i, half in enumerate((a, a + b, a - b, -b)):
            p, q = half[:, :, :, 0], half[:, :, :, 1]
            products[i, 0].copy_(p)
            torch.add(p, q, out=products[i, 1])
            torch.sub(p, q, out=products[i, 2])
            torch.neg(q, out=products[i, 3])
        return products.view(16, -1, channels)

    def crop(self, values: Tensor) -> Tensor:
        """Return the part ``(B, H, W, C)`` that is the size of the features."""
        return values[:, : self.height, : self.width]

    def room(self, part: tuple[int, int, int]) -> Tensor:
        """Return uninitialised memory for the tiles of a part, the same in every call."""
        rows = part[2] - part[1]
        shape = (*self._tiles.shape[:2], rows, *self._tiles.shape[3:])
        return self._tiles.flatten()[: math.prod(shape)].view(shape)

    def _every(self, values: Tensor, dim: int, k: int) -> Tensor:
        """Return the k-th row or column of all tiles, as blocks and positions in them."""
        d = self.dilation
        count = (values.shape[dim] - 2 * d) // (2 * d)
        blocks = values.narrow(dim, k * d, 2 * d * count).unflatten(dim, (count, 2 * d))
        return blocks.narrow(dim + 1, 0, d)


def _transform_filters(weight: Tensor) -> Tensor:
    """Return ``(16, O, C)``."""
    taps = weight.permute(2, 3, 0, 1).flatten(0, 1)
    return (_filter_matrix(weight) @ taps.flatten(1)).view(16, *weight.shape[:2])


def _filter_gradient(grad: Tensor) -> Tensor:
    """Return the gradient ``(O, C, 3, 3)`` of the filters, from that of the transformed ones."""
    taps = _filter_matrix(grad).t() @ grad.flatten(1)
    return taps.view(3, 3, *grad.shape[1:]).permute(2, 3, 0, 1)


def _filter_matrix(like: Tensor) -> Tensor:
    one_axis = like.new_tensor(_FILTER)
    return torch.kron(one_axis, one_axis)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
