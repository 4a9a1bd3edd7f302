"""OpenVINO's intermediate representation: the graph in ``.xml``, the weights in ``.bin``."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmseg_encnet.errors import UserError, first_line
from mmseg_encnet.exporting import onnx
from mmseg_encnet.exporting.description import Size, as_strings, from_strings
from mmseg_encnet.exporting.fold import FoldedEncNet
from mmseg_encnet.extras import require

_SECTION = 'mmseg_encnet'


def check_installed() -> None:
    """Raise a `UserError` if a package that writes or checks the files is not installed."""
    require('openvino', 'openvino')
    for module in onnx.WRITERS:
        require(module, 'openvino')


@functools.cache
def core() -> Any:
    """Return OpenVINO's entry point, the only one of this process.

    Each one replaces the stack on which signals are handled, and puts that of the one before back
    when it is freed. Freed in the order of their creation, the last one would put back a stack that
    no longer exists, and the next signal would crash the process.
    """
    return require('openvino', 'openvino').Core()


def write(
    model: FoldedEncNet, path: Path, description: Mapping[str, Any], size: Size | None = None
) -> None:
    """Write a folded model, by way of ONNX, with weights in single precision.

    Raises:
        UserError: A package that the export needs is not installed, or the network cannot be
            exported.
    """
    check_installed()
    openvino = require('openvino', 'openvino')
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'model.onnx')
        onnx.write(model, source, {}, size)
        # Not openvino.convert_model, which also reports its use to the vendor.
        converted = core().read_model(source)
        for key, value in as_strings(description).items():
            converted.set_rt_info(value, [_SECTION, key])
        openvino.save_model(converted, path, compress_to_fp16=False)


def run(path: Path) -> Callable[[Tensor], list[Tensor]]:
    """Return a function from an image to the outputs, computed on the CPU."""
    # By default a processor with bfloat16 instructions computes in bfloat16.
    compiled = core().compile_model(path, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})

    def outputs(image: Tensor) -> list[Tensor]:
        found = compiled([image.numpy()])
        return [torch.from_numpy(found[index]) for index in range(len(compiled.outputs))]

    return outputs


def read(path: Path) -> dict[str, Any]:
    """Return the description in a file.

    Raises:
        UserError: It is no model of OpenVINO, or contains no description.
    """
    try:
        model = core().read_model(path)
        section = model.get_rt_info([_SECTION]) if model.has_rt_info([_SECTION]) else None
    except RuntimeError as error:
        raise UserError(
            f'{path} is damaged or not a model of OpenVINO ({first_line(error)}); export it again.'
        ) from error
    return from_strings(path, section.value if section else {})
