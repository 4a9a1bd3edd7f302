"""Programs of ``torch.export``, which run and compile with PyTorch alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmseg_encnet.exporting.description import ENTRY, Size
from mmseg_encnet.exporting.fold import FoldedEncNet
from mmseg_encnet.exporting.tracing import trace


def write(
    model: FoldedEncNet, path: Path, description: Mapping[str, Any], size: Size | None = None
) -> None:
    """Write a folded model as a program.

    Raises:
        UserError: The network cannot be traced.
    """
    program = trace(model, size)
    torch.export.save(program, path, extra_files={ENTRY: json.dumps(description)})


def run(path: Path) -> Callable[[Tensor], list[Tensor]]:
    """Return a function from an image to the outputs, computed by the program."""
    module = torch.export.load(path).module()
    return lambda image: list(module(image))
