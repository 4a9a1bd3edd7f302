"""Export EncNet to ONNX and compare it with PyTorch."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmseg.models.necks import jpu

from mmseg_encnet.errors import UserError, type_and_first_line
from mmseg_encnet.exporting.fold import FoldedEncNet
from mmseg_encnet.extras import require

_EXAMPLE_SIZE = (96, 128)
# Backbones that torch.export can only trace for the size of the example.
_FIXED_SIZE = ('HFBackbone', 'MixVisionTransformer', 'SwinTransformer')


@dataclass(frozen=True)
class Agreement:
    """Agreement of ONNX Runtime with PyTorch for one image size.

    Attributes:
        size: Height and width of the image in pixels.
        difference: Maximum absolute difference of an output, the larger one of the outputs: of
            probabilities as it is, of class scores over their maximum absolute value.
        same_labels: Share of pixels with the same class.
    """

    size: tuple[int, int]
    difference: float
    same_labels: float


_SCORES = 'output (1, classes, height, width), float32; the largest is the class of a pixel'
_ONE_SCORE = (
    'output (1, 1, height, width), float32, probability of class 1; a pixel has class 1 above {}'
)


def refusal(model: Mapping[str, Any]) -> str | None:
    """Return why the model of a config cannot be exported for any size, or None if it can.

    Args:
        model: The entry ``model`` of a config.
    """
    head, backbone = (_type_name(model[part]) for part in ('decode_head', 'backbone'))
    if head != 'EncodingHead':
        return f'only EncNet can be exported, got the decode_head {head}'
    if backbone in _FIXED_SIZE:
        return f'{backbone} computes with the size of the image in Python, which fixes it'
    return None


def export_onnx(
    model: FoldedEncNet,
    path: Path,
    classes: Sequence[str] = (),
    palette: Sequence[Sequence[int]] = (),
) -> None:
    """Export a folded model to an ONNX file for images of any size.

    The input ``image`` is ``(1, channels, height, width)``, float32, as
    :meth:`FoldedEncNet.forward` takes it: RGB from 0 to 255 for a model of colour images. The
    outputs are ``scores`` and, with an SE branch, ``presence``, see :meth:`FoldedEncNet.forward`.
    The metadata of the file describes them, see :func:`metadata`.

    Args:
        model: The folded model.
        path: File to write; on failure no file is left.
        classes: Class names by index, for the metadata.
        palette: RGB colours by index, for the metadata.

    Raises:
        UserError: A package that the export needs is not installed, or the network cannot be
            exported for images of any size.
    """
    for module in ('onnx', 'onnxscript'):
        require(module, 'onnx')
    names = ['scores', 'presence'] if model.decode_head.use_se_loss else ['scores']
    # torch compares sizes with 1 to find broadcasts: at 32 a map of stride 32 has one pixel.
    sizes = {2: torch.export.Dim('height', min=33), 3: torch.export.Dim('width', min=33)}
    try:
        with _resizing_without_warning():
            # torch.onnx.export would fall back to the size of the example.
            program = torch.export.export(
                model,
                (_image(_EXAMPLE_SIZE, model.in_channels),),
                dynamic_shapes=(sizes,),
                # ResNeSt's pooling compares sizes in ways that hold for all but are not proven.
                prefer_deferred_runtime_asserts_over_guards=True,
            )
        exported = torch.onnx.export(
            program, input_names=['image'], output_names=names, dynamo=True, verbose=False
        )
    except Exception as error:
        raise UserError(
            f'the network with {type(model.backbone).__name__} cannot be exported for images of '
            f'any size ({type_and_first_line(error)}); use a config that the table in '
            'docs/model_zoo.md lists as exportable.'
        ) from error
    assert exported is not None
    exported.model.metadata_props.update(metadata(model, classes, palette))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f'{path.name}.part')
    try:
        exported.save(aside, external_data=False)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def metadata(
    model: FoldedEncNet, classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> dict[str, str]:
    """Return what a user of the file has to know, as JSON values by key."""
    channels = model.in_channels
    threshold = model.decode_head.threshold if model.decode_head.out_channels == 1 else None
    entries: dict[str, Any] = dict(
        classes=list(classes),
        palette=[list(map(int, colour)) for colour in palette],
        colour_order='RGB' if channels == 3 else 'as the image file',
        range=[0, 255],
        mean=model.pixel_mean.flatten().tolist(),
        std=model.pixel_std.flatten().tolist(),
        normalisation='in the graph: pass pixel values as they are, do not subtract mean',
        image=f'input (1, {channels}, height, width), float32',
        scores=_SCORES if threshold is None else _ONE_SCORE.format(threshold),
    )
    if model.decode_head.use_se_loss:
        entries['presence'] = 'output (1, classes), float32, probability that a class is present'
    return {key: json.dumps(value) for key, value in entries.items()}


@contextmanager
def _resizing_without_warning() -> Iterator[None]:
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
            float((a - b).abs().max() / scale)
            for a, b, scale in zip(found, expected, _scales(model, expected))
        )
        labels = [model.labels(scores) for scores in (found[0], expected[0])]
        same = float((labels[0] == labels[1]).float().mean())
        yield Agreement(size, difference, same)


def _scales(model: FoldedEncNet, outputs: Sequence[torch.Tensor]) -> list[float]:
    """Return what the differences of each output are compared with."""
    # Saturated logits make the relative difference of a probability near 0 meaningless.
    one_score = model.decode_head.out_channels == 1
    return [1.0 if one_score else float(outputs[0].abs().max()), *[1.0] * (len(outputs) - 1)]


def _image(size: tuple[int, int], channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 255 * torch.rand(1, channels, *size, generator=generator)
