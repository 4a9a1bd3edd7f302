"""TorchScript files, for programs that still use LibTorch's ``torch::jit::load``.

PyTorch has deprecated TorchScript; the program of ``torch.export`` replaces it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmseg_encnet.exporting.description import ENTRY, Size
from mmseg_encnet.exporting.fold import FoldedEncNet
from mmseg_encnet.exporting.tracing import example_image, explaining, resizing_without_warning


def write(
    model: FoldedEncNet, path: Path, description: Mapping[str, Any], size: Size | None = None
) -> None:
    """Write a folded model as a trace.

    Raises:
        UserError: The network cannot be traced.
    """
    with explaining(model, size), resizing_without_warning(), _without_warnings(), torch.no_grad():
        # The check would only repeat what is compared afterwards, on this one size.
        traced = torch.jit.trace(model, example_image(model, size), check_trace=False)
        torch.jit.save(traced, path, _extra_files={ENTRY: json.dumps(description)})


def run(path: Path) -> Callable[[Tensor], list[Tensor]]:
    """Return a function from an image to the outputs, computed by the trace."""
    with _without_warnings():
        module = torch.jit.load(path, map_location='cpu')
    return lambda image: list(module(image))


@contextmanager
def _without_warnings() -> Iterator[None]:
    # Of the deprecation, and of sizes that are compared in Python.
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield
