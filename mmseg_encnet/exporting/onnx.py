"""Export EncNet to ONNX and compare it with PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mmseg_encnet.exporting.fold import FoldedEncNet
from mmseg_encnet.extras import require

_EXAMPLE_SIZE = (96, 128)


@dataclass(frozen=True)
class Agreement:
    """Agreement of ONNX Runtime with PyTorch for one image size.

    Attributes:
        size: Height and width of the image in pixels.
        difference: Maximum absolute difference of an output over its maximum absolute value, the
            larger one of the outputs.
        same_labels: Share of pixels with the same class.
    """

    size: tuple[int, int]
    difference: float
    same_labels: float


def export_onnx(model: FoldedEncNet, path: Path) -> None:
    """Export a folded model to an ONNX file for images of any size.

    The input ``image`` is ``(1, channels, height, width)``, float32, as
    :meth:`FoldedEncNet.forward` takes it: RGB from 0 to 255 for a model of colour images. The
    outputs are ``scores`` and, with an SE branch, ``presence``, see :meth:`FoldedEncNet.forward`.

    Raises:
        UserError: A package that the export needs is not installed.
    """
    for module in ('onnx', 'onnxscript'):
        require(module, 'onnx')
    names = ['scores', 'presence'] if model.decode_head.use_se_loss else ['scores']
    sizes = {2: torch.export.Dim('height', min=32), 3: torch.export.Dim('width', min=32)}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        model,
        (_image(_EXAMPLE_SIZE, model.in_channels),),
        path,
        input_names=['image'],
        output_names=names,
        dynamic_shapes=(sizes,),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def compare_with_pytorch(
    model: FoldedEncNet, path: Path, sizes: Sequence[tuple[int, int]]
) -> Iterator[Agreement]:
    """Compare an ONNX file with the model it was exported from on images of several sizes."""
    onnxruntime = require('onnxruntime', 'onnx')

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    for size in sizes:
        image = _image(size, model.in_channels)
        with torch.no_grad():
            expected = model(image)
        found = [torch.from_numpy(output) for output in session.run(None, {'image': image.numpy()})]
        difference = max(
            float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected)
        )
        labels = [model.labels(scores) for scores in (found[0], expected[0])]
        same = float((labels[0] == labels[1]).float().mean())
        yield Agreement(size, difference, same)


def _image(size: tuple[int, int], channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 255 * torch.rand(1, channels, *size, generator=generator)
