"""Export a folded model, compare the file with PyTorch, and keep it if both agree."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmseg_encnet.errors import UserError
from mmseg_encnet.exporting.description import Size, describe
from mmseg_encnet.exporting.fold import FoldedEncNet
from mmseg_encnet.exporting.formats import Format, format_of
from mmseg_encnet.exporting.tracing import example_image

TOLERANCE = 1e-4
SIZES = ((97, 131), (128, 256), (256, 128), (480, 480))


@dataclass(frozen=True)
class Agreement:
    """Agreement of an exported file with PyTorch for one image size.

    Attributes:
        size: Height and width of the image in pixels.
        difference: Maximum absolute difference of an output, the larger one of the outputs: of
            probabilities and factors as it is, of class scores over their maximum absolute value.
        same_labels: Share of pixels with the same class.
    """

    size: Size
    difference: float
    same_labels: float


def export(
    model: FoldedEncNet,
    path: str | Path,
    classes: Sequence[str] = (),
    palette: Sequence[Sequence[int]] = (),
    *,
    format: str | None = None,
    size: Size | None = None,
    resize: Mapping[str, Any] | None = None,
    progress: Callable[[Agreement], None] = lambda _: None,
) -> bool:
    """Export a folded model and compare the file with it.

    The input ``image`` is ``(1, channels, height, width)``, float32, as
    :meth:`FoldedEncNet.forward` takes it: RGB from 0 to 255 for a model of colour images. The
    outputs are those of :meth:`FoldedEncNet.forward`. The file contains a description of both, see
    :func:`read_description`.

    Args:
        model: The folded model.
        path: File to write. An existing one is only replaced by one that agrees.
        classes: Class names by index, for the description.
        palette: RGB colours by index, for the description.
        format: ``onnx``, ``openvino``, ``torch`` or ``torchscript``; by default by the suffix.
        size: Height and width of the image in pixels, or None for images of any size.
        resize: ``scale`` and ``keep_ratio`` by which the test pipeline resizes images, for the
            description.
        progress: Called with the result for each compared size.

    Returns:
        Whether the file agrees with PyTorch within a tolerance of 1e-4, and is kept.

    Raises:
        UserError: The format is unknown, a package that it needs is not installed, or the network
            cannot be exported.
    """
    path = Path(path)
    chosen = format_of(path, format)
    chosen.check_installed()
    description = describe(
        model, classes, palette, size=size, smallest=chosen.smallest, resize=resize
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # No file under the final name unless it agrees with PyTorch.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix='.') as folder:
        written = Path(folder, path.name)
        chosen.write(model, written, description, size)
        sizes = [size] if size else [(chosen.smallest,) * 2, *SIZES]
        worst = 0.0
        for result in compare_with_pytorch(model, written, sizes, chosen):
            progress(result)
            # NaN must not pass as agreement.
            worst = result.difference if not result.difference <= worst else worst
        agrees = worst <= TOLERANCE
        if agrees:
            if chosen.companion:
                written.with_suffix(chosen.companion).replace(path.with_suffix(chosen.companion))
            written.replace(path)
    return agrees


def compare_with_pytorch(
    model: FoldedEncNet, path: Path, sizes: Sequence[Size], format: Format | None = None
) -> Iterator[Agreement]:
    """Compare an exported file with the model it was exported from on images of several sizes."""
    run = (format or format_of(path)).run(path)
    for size in sizes:
        image = example_image(model, size)
        with torch.no_grad():
            expected, found = model(image), run(image)
        difference = max(
            float((a - b).abs().max() / scale)
            for a, b, scale in zip(found, expected, _scales(model, expected))
        )
        labels = [model.labels(scores) for scores in (found[0], expected[0])]
        same = float((labels[0] == labels[1]).float().mean())
        yield Agreement(size, difference, same)


def read_description(path: str | Path, format: str | None = None) -> dict[str, Any]:
    """Return the description in an exported file.

    Args:
        path: The file; of OpenVINO's two, the one that ends in ``.xml``.
        format: As of :func:`export`.

    Returns:
        ``inputs`` and ``outputs`` by name with a sentence for each under its name, ``layout``,
        ``colour_order``, ``range``, ``mean`` and ``std`` of the normalisation in the graph,
        ``sizes`` and ``resize``, ``classes``, ``palette`` and more, see ``docs/howto/onnx.md``.

    Raises:
        UserError: The file does not exist, is damaged or contains no description.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'exported file {path} does not exist; check the path.')
    return format_of(path, format).read(path)


def _scales(model: FoldedEncNet, outputs: Sequence[torch.Tensor]) -> list[float]:
    """Return what the differences of each output are compared with."""
    # Saturated logits make the relative difference of a probability near 0 meaningless.
    one_score = model.decode_head.out_channels == 1
    return [1.0 if one_score else float(outputs[0].abs().max()), *[1.0] * (len(outputs) - 1)]
