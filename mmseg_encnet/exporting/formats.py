"""The formats of exported files, chosen by name or by suffix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mmseg_encnet.errors import UserError
from mmseg_encnet.exporting import onnx, openvino, program, torchscript, tracing
from mmseg_encnet.exporting.description import SMALLEST, read_from_archive


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
        suffix: Suffix of its files.
        write: Function of model, path, description and size that writes a file.
        run: Function of a path that returns one from an image to the outputs.
        read: Function of a path that returns the description in it.
        smallest: Smallest height and width of an image, in pixels.
        check_installed: Function that raises a `UserError` if a package is not installed.
        companion: Suffix of a second file beside it, or None.
    """

    suffix: str
    write: Callable[..., None]
    run: Callable[[Path], Callable[[Tensor], list[Tensor]]]
    read: Callable[[Path], dict[str, Any]]
    smallest: int = SMALLEST
    check_installed: Callable[[], None] = _nothing
    companion: str | None = None


FORMATS: Mapping[str, Format] = {
    'onnx': Format('.onnx', onnx.write, onnx.run, onnx.read, SMALLEST, onnx.check_installed),
    'openvino': Format(
        '.xml',
        openvino.write,
        openvino.run,
        openvino.read,
        SMALLEST,
        openvino.check_installed,
        '.bin',
    ),
    'torch': Format('.pt2', program.write, program.run, read_from_archive, tracing.SMALLEST),
    'torchscript': Format('.torchscript', torchscript.write, torchscript.run, read_from_archive),
}
# Files that other programs make from an exported one.
_MADE_ELSEWHERE = {
    suffix: 'TensorRT builds its engines on the machine that runs them: export to .onnx, then '
    f'trtexec --onnx=FILE.onnx --saveEngine=FILE{suffix} as docs/howto/onnx.md describes'
    for suffix in ('.engine', '.plan', '.trt')
}


def format_of(path: Path, name: str | None = None) -> Format:
    """Return a format by its name or, without one, by the suffix of a file.

    Raises:
        UserError: Name or suffix is unknown, or they do not belong together.
    """
    if name is not None and name not in FORMATS:
        raise UserError(f'unknown format {name!r}; choose one of {", ".join(FORMATS)}.')
    if name == 'openvino' and path.suffix != FORMATS[name].suffix:
        raise UserError(f'got the file {path} for OpenVINO, expected one that ends in .xml.')
    if name is not None:
        return FORMATS[name]
    if path.suffix in _MADE_ELSEWHERE:
        raise UserError(f'{path} cannot be exported: {_MADE_ELSEWHERE[path.suffix]}.')
    for known in FORMATS.values():
        if path.suffix == known.suffix:
            return known
    suffixes = ', '.join(known.suffix for known in FORMATS.values())
    raise UserError(
        f'the suffix {path.suffix!r} of {path} belongs to no format; choose one of {suffixes}.'
    )
