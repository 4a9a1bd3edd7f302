"""Strides, image sizes and unused parameters of a feature extractor, found by running it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmseg_encnet.errors import UserError, first_line

# Divisible by all usual patch sizes and strides.
_SIZE = 224
# Networks that divide their features into windows need multiples of several strides.
_FACTORS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Geometry:
    """What a feature extractor does with an image.

    Attributes:
        channels: Channels of each output.
        strides: Vertical and horizontal stride of each output.
        multiple: Height and width of an image must be multiples of these numbers.
        fixed_size: The only size of an image, or None for any multiple.
        unused: Names of the parameters on which no output depends.
    """

    channels: tuple[int, ...]
    strides: tuple[tuple[int, int], ...]
    multiple: tuple[int, int]
    fixed_size: tuple[int, int] | None
    unused: tuple[str, ...]


@torch.enable_grad()
def find_geometry(
    model: nn.Module,
    extract: Callable[[nn.Module, Tensor], Sequence[Tensor]],
    channels: int,
    patch_size: int,
    image_size: tuple[int, int],
) -> Geometry:
    """Find the geometry of a feature extractor.

    Args:
        model: The feature extractor in evaluation mode, best on the ``meta`` device.
        extract: Returns the features ``(B, C_i, H_i, W_i)`` of images ``(B, channels, H, W)``.
        channels: Channels of the images.
        patch_size: Size of a patch, 1 if there is none.
        image_size: Size of the images that the network was designed for.

    Raises:
        UserError: The network accepts neither usual sizes nor ``image_size``.
    """
    device = next(model.parameters()).device

    def run(size: tuple[int, int]) -> Sequence[Tensor]:
        return extract(model, torch.zeros(1, channels, *size, device=device))

    usual = math.lcm(_SIZE, patch_size)
    size, outputs = _first_success(run, [(usual, usual), image_size])
    widths = tuple(output.shape[1] for output in outputs)
    strides = tuple(
        (round(size[0] / output.shape[2]), round(size[1] / output.shape[3])) for output in outputs
    )
    unused = tuple(_unused(model, outputs))
    largest = (max(stride for stride, _ in strides), max(stride for _, stride in strides))
    for factor in _FACTORS:
        multiple = (factor * largest[0], factor * largest[1])
        try:
            run((3 * multiple[0], 5 * multiple[1]))
        except (RuntimeError, ValueError):
            continue
        return Geometry(widths, strides, multiple, None, unused)
    return Geometry(widths, strides, largest, size, unused)


def _first_success(
    run: Callable[[tuple[int, int]], Sequence[Tensor]], sizes: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], Sequence[Tensor]]:
    for size in sizes:
        try:
            return size, run(size)
        except UserError:
            raise
        except (RuntimeError, ValueError) as error:
            refused = error
    raise UserError(
        f'HFBackbone got no features from images of {sizes[-1][0]} x {sizes[-1][1]} pixels '
        f'({first_line(refused)}); check image_size in its config.'
    ) from refused


def _unused(model: nn.Module, outputs: Sequence[Tensor]) -> Iterator[str]:
    """Yield the names of the trainable parameters that are not in the graph of the outputs."""
    reached, seen = set(), set()
    waiting = [output.grad_fn for output in outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, 'variable'):
            reached.add(id(node.variable))
        waiting += [following for following, _ in node.next_functions]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in reached:
            yield name
