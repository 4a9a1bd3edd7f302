"""A network exported to ONNX, which ONNX Runtime and OpenVINO compute."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmseg.models import BaseSegmentor
from torch import Tensor, nn

from mmseg_encnet.errors import UserError
from mmseg_encnet.exporting import onnx
from mmseg_encnet.exporting.description import Size
from mmseg_encnet.exporting.tracing import SMALLEST, example_image, has_fixed_size
from mmseg_encnet.models.input_channels import input_channels
from mmseg_encnet.models.segmentors.context import Segmentation, compute
from mmseg_encnet.runtimes.cache import Cache
from mmseg_encnet.runtimes.pytorch import fold, round_weights

# Outputs that only context maps need.
MAPS = ('features', 'assignments')
# Largest difference from PyTorch in single precision, relative to the largest value of an output.
_TOLERANCE = 1e-3

# From an image (1, channels, H, W) to the outputs by name.
Run = Callable[[Tensor], dict[str, Tensor]]
# From the content of an ONNX file, the outputs to compute and the precision.
Load = Callable[[bytes, Sequence[str], str], Run]


class TraceableSegmentor(nn.Module):
    """What :func:`compute` returns for one image, as a tuple of tensors.

    Args:
        segmentor: The segmentor, which is not modified.
        precision: ``float32``, or ``bfloat16`` for weights that it can represent.
    """

    def __init__(self, segmentor: BaseSegmentor, precision: str) -> None:
        super().__init__()
        self.segmentor = fold(segmentor)
        if precision == 'bfloat16':
            round_weights(self.segmentor)
        self.in_channels = input_channels(segmentor.backbone)
        with torch.no_grad():
            self.output_names = tuple(self.outputs(example_image(self)))

    @property
    def backbone(self) -> nn.Module:
        """The backbone, for error messages."""
        return self.segmentor.backbone

    def outputs(self, image: Tensor) -> dict[str, Tensor]:
        """Return the outputs ``(1, ...)`` for a normalised image by name."""
        found = compute(self.segmentor, image, [0])
        outputs = dict(logits=found.logits, **found.context)
        outputs |= dict(features=found.features, assignments=found.assignments)
        return {name: value for name, value in outputs.items() if value is not None}

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in the order of ``output_names``."""
        return tuple(self.outputs(image).values())


class ExportedNetwork:
    """A segmentor that another runtime computes, image by image.

    The file is exported if the cache has none for these weights. Images below 33 pixels, which no
    exported file accepts, are computed by PyTorch.

    Args:
        segmentor: The segmentor, which is not modified.
        precision: ``float32`` or ``bfloat16``.
        load: Loads the file.
        cache: Where files are kept.
    """

    def __init__(self, segmentor: BaseSegmentor, precision: str, load: Load, cache: Cache) -> None:
        self.segmentor, self.precision = segmentor, precision
        self.load, self.cache = load, cache
        self.any_size = not has_fixed_size(segmentor.backbone)
        # A runtime has threads of its own, and one set of buffers for its results.
        self._lock = threading.Lock()
        self._runs: dict[tuple[Size | None, bool], Run] = {}
        if self.any_size:
            self._run(None, False)

    def __call__(self, images: Tensor, maps: Sequence[int] = ()) -> Segmentation:
        """Compute what :func:`mmseg_encnet.models.segmentors.context.segment` returns."""
        size = (images.shape[2], images.shape[3])
        if min(size) < SMALLEST:
            return compute(self.segmentor, images, maps)
        outputs: dict[str, list[Tensor]] = {}
        for index, image in enumerate(images.cpu()):
            with self._lock:
                run = self._run(None if self.any_size else size, index in maps)
                found = run(image[None])
            for name, value in found.items():
                outputs.setdefault(name, []).append(value)
        merged = {name: torch.cat(values).to(images.device) for name, values in outputs.items()}
        parts = [merged.pop(name, None) for name in ('logits', *MAPS)]
        return Segmentation(parts[0], merged, *parts[1:])

    def _run(self, size: Size | None, with_maps: bool) -> Run:
        key = (size, with_maps)
        if key not in self._runs:
            content = self.cache.read(size)
            if content is None:
                print_log('exporting the network; the file is kept for the next time', 'current')
                model = TraceableSegmentor(self.segmentor, self.precision)
                content = _exported(model, size)
                self._check(content, model, size)
                self.cache.write(size, content)
            names = onnx.output_names(content)
            if not with_maps:
                names = [name for name in names if name not in MAPS]
            self._runs[key] = self.load(content, names, self.precision)
        return self._runs[key]

    @torch.no_grad()
    def _check(self, content: bytes, model: TraceableSegmentor, size: Size | None) -> None:
        """Raise a `UserError` if the runtime computes other scores or context than PyTorch."""
        image = example_image(model, size) / 64 - 2
        names = [name for name in model.output_names if name not in MAPS]
        expected, found = model.outputs(image), self.load(content, names, 'float32')(image)
        for name in names:
            difference = (found[name] - expected[name]).abs().max()
            # NaN must not pass as agreement.
            if not difference <= _TOLERANCE * expected[name].abs().max():
                raise UserError(
                    f'the exported network differs from PyTorch ({name} by {difference:.1e}); use '
                    '--runtime torch.'
                )


def _exported(model: TraceableSegmentor, size: Size | None) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'network.onnx')
        onnx.write(model, path, {}, size)
        return path.read_bytes()
