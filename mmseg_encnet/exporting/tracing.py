"""Trace a folded model for the exporters."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from mmseg.models.necks import jpu
from torch import Tensor, nn

from mmseg_encnet.errors import UserError, type_and_first_line
from mmseg_encnet.exporting.description import Size

# torch compares sizes with 1 to find broadcasts: at 32 a map of stride 32 has one pixel.
SMALLEST = 33
_EXAMPLE_SIZE = (96, 128)
# Backbones that torch.export can only trace for the size of the example.
_FIXED_SIZE = ('HFBackbone', 'MixVisionTransformer', 'SwinTransformer')


class Traceable(Protocol):
    """A network from an image ``(1, in_channels, H, W)`` to a tuple of tensors.

    Attributes:
        backbone: Its backbone.
        in_channels: Channels of the image.
        output_names: Names of the outputs.
    """

    @property
    def backbone(self) -> nn.Module: ...

    in_channels: int
    output_names: tuple[str, ...]

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]: ...


def refusal(model: Mapping[str, Any], size: Size | None = None) -> str | None:
    """Return why the model of a config cannot be exported, or None if it can.

    Args:
        model: The entry ``model`` of a config.
        size: The only size to export for, or None for any.
    """
    head, backbone = (_type_name(model[part]) for part in ('decode_head', 'backbone'))
    if head != 'EncodingHead':
        return (
            f'only EncNet can be exported, got the decode_head {head}; choose a config that '
            'docs/model_zoo.md lists as exportable'
        )
    if backbone in _FIXED_SIZE and size is None:
        return (
            f'{backbone} computes with the size of the image in Python, which fixes it; export for '
            'one size with --size HEIGHT WIDTH, or choose a config that docs/model_zoo.md lists'
        )
    return None


def has_fixed_size(backbone: nn.Module) -> bool:
    """Return whether a backbone can only be exported for one size of images."""
    return type(backbone).__name__ in _FIXED_SIZE


def example_image(model: Traceable, size: Size | None = None) -> Tensor:
    """Return an image of random pixels, by default of a size for tracing."""
    generator = torch.Generator().manual_seed(0)
    return 255 * torch.rand(1, model.in_channels, *(size or _EXAMPLE_SIZE), generator=generator)


def trace(model: Traceable, size: Size | None = None) -> torch.export.ExportedProgram:
    """Return a model as a program for images of any size, or of one.

    Raises:
        UserError: The network cannot be traced.
    """
    sizes = {
        2: torch.export.Dim('height', min=SMALLEST),
        3: torch.export.Dim('width', min=SMALLEST),
    }
    with resizing_without_warning(), explaining(model, size):
        return torch.export.export(
            model,
            (example_image(model, size),),
            dynamic_shapes=None if size else (sizes,),
            # ResNeSt's pooling compares sizes in ways that hold for all but are not proven.
            prefer_deferred_runtime_asserts_over_guards=size is None,
        )


@contextmanager
def explaining(model: Traceable, size: Size | None) -> Iterator[None]:
    """Turn errors of an exporter into a sentence about the network."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        which = f'{size[0]}x{size[1]} pixels' if size else 'any size'
        raise UserError(
            f'the network with {type(model.backbone).__name__} cannot be exported for images of '
            f'{which} ({type_and_first_line(error)}); use a config that the table in '
            'docs/model_zoo.md lists as exportable.'
        ) from error


@contextmanager
def resizing_without_warning() -> Iterator[None]:
    """Let mmseg's JPU resize without its check for a warning, which converts sizes to integers."""
    original = jpu.resize
    jpu.resize = functools.partial(original, warning=False)
    try:
        yield
    finally:
        jpu.resize = original


def _type_name(cfg: Mapping[str, Any]) -> str:
    kind = cfg['type']
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]
