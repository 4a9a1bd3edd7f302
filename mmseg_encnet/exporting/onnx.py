"""ONNX files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmseg_encnet.errors import UserError, first_line
from mmseg_encnet.exporting.description import Size, as_strings, from_strings
from mmseg_encnet.exporting.tracing import Traceable, explaining, trace
from mmseg_encnet.extras import require

# Packages that write a file; running it needs ONNX Runtime, too.
WRITERS = ('onnx', 'onnxscript')


def check_installed() -> None:
    """Raise a `UserError` if a package that writes or checks the files is not installed."""
    for module in (*WRITERS, 'onnxruntime'):
        require(module, 'onnx')


def write(
    model: Traceable, path: Path, description: Mapping[str, Any], size: Size | None = None
) -> None:
    """Write a network as one file of operators from the standard domain.

    Raises:
        UserError: A package that the export needs is not installed, or the network cannot be
            exported.
    """
    for module in WRITERS:
        require(module, 'onnx')
    # torch.onnx.export would fall back to the size of the example if it traced the model itself.
    program = trace(model, size)
    with explaining(model, size), _without_notes():
        exported = torch.onnx.export(
            program,
            input_names=['image'],
            output_names=list(model.output_names),
            dynamo=True,
            verbose=False,
        )
    assert exported is not None
    exported.model.metadata_props.update(as_strings(description))
    exported.save(path, external_data=False)


@contextmanager
def _without_notes() -> Iterator[None]:
    # One for each operator of torchvision, if that is not installed.
    logger = logging.getLogger('torch.onnx._internal.exporter._registration')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def run(path: Path) -> Callable[[Tensor], list[Tensor]]:
    """Return a function from an image to the outputs, computed by ONNX Runtime."""
    onnxruntime = require('onnxruntime', 'onnx')
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return lambda image: [
        torch.from_numpy(output) for output in session.run(None, {'image': image.numpy()})
    ]


def read(path: Path) -> dict[str, Any]:
    """Return the description in a file.

    Raises:
        UserError: It is no ONNX file, or contains no description.
    """
    onnx = require('onnx', 'onnx')
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise UserError(
            f'{path} is damaged or not an ONNX file ({first_line(error)}); export it again.'
        ) from error
    return from_strings(path, {entry.key: entry.value for entry in model.metadata_props})


def output_names(content: bytes) -> list[str]:
    """Return the names of the outputs of a file's content."""
    onnx = require('onnx', 'onnx')
    return [output.name for output in onnx.load_from_string(content).graph.output]


def with_outputs(content: bytes, names: Sequence[str]) -> bytes:
    """Return a file's content with some of its outputs, so that a runtime computes no others."""
    onnx = require('onnx', 'onnx')
    model = onnx.load_from_string(content)
    kept = [output for output in model.graph.output if output.name in names]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return model.SerializeToString()
