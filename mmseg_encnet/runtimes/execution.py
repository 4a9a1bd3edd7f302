"""Choose what computes the network of a segmentor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmseg.models import BaseSegmentor
from torch import Tensor

from mmseg_encnet.checkpoints.shipped_weights import SCHEME
from mmseg_encnet.configuration.runtimes import PRECISIONS, RUNTIMES
from mmseg_encnet.errors import UserError
from mmseg_encnet.models.segmentors import ContextEncoderDecoder
from mmseg_encnet.models.segmentors.context import Network, Segmentation
from mmseg_encnet.runtimes import onnx_runtime, openvino, pytorch
from mmseg_encnet.runtimes.cache import Cache
from mmseg_encnet.runtimes.exported import ExportedNetwork


@dataclass(frozen=True)
class Runtime:
    """What computes networks.

    Attributes:
        refusal: Function of precision and device that returns why it cannot compute, or None.
        prepare: Function that returns the network of an :class:`Execution`.
    """

    refusal: Callable[[str, torch.device], str | None]
    prepare: Callable[[Execution], Network]


class Execution:
    """Computes a segmentor with a runtime, in place of its layers.

    The network is prepared at the first call, and again after the weights have changed.

    Args:
        segmentor: The segmentor, which is not modified.
        runtime: One of :data:`RUNTIMES`.
        precision: One of :data:`PRECISIONS`.
        device: Device of the runtime.
        checkpoint: Checkpoint of the weights; exported files are kept in its folder, or in the
            user's cache folder if it is not a file, ships with this package or its folder is not
            writable.
        config: What determines the network beside its weights: the config of the model, as text.
    """

    def __init__(
        self,
        segmentor: BaseSegmentor,
        runtime: str,
        precision: str,
        device: torch.device,
        checkpoint: str | Path | None = None,
        config: str = '',
    ) -> None:
        self.segmentor, self.runtime, self.precision = segmentor, runtime, precision
        self.device, self.config = device, config
        shipped = str(checkpoint).startswith(SCHEME)
        file = None if checkpoint is None or shipped else Path(checkpoint)
        self.checkpoint = file if file is not None and file.is_file() else None
        self._network: Network | None = None
        self._prepared_for: list[tuple[int, int]] = []

    def prepare(self) -> Network:
        """Return the network for the present weights.

        Raises:
            UserError: The network cannot be exported.
        """
        weights = _weights(self.segmentor)
        if self._network is None or weights != self._prepared_for:
            self._network = None
            self._network = _RUNTIMES[self.runtime].prepare(self)
            self._prepared_for = weights
        return self._network

    def __call__(self, images: Tensor, maps: Sequence[int] = ()) -> Segmentation:
        """Compute what :func:`mmseg_encnet.models.segmentors.context.segment` returns."""
        return self.prepare()(images, maps)

    def __getstate__(self) -> dict[str, Any]:
        # Copies prepare their own: sessions of the runtimes cannot be copied.
        return dict(self.__dict__, _network=None)


def choose_device(runtime: str, precision: str, device: str | None = None) -> torch.device:
    """Return the device on which a runtime computes.

    Args:
        runtime: One of :data:`RUNTIMES`.
        precision: One of :data:`PRECISIONS`.
        device: Device such as ``cpu`` or ``cuda:0``; by default a GPU if one is available and
            the runtime is PyTorch.

    Raises:
        UserError: Runtime or precision is unknown, a package is not installed, or the runtime
            cannot compute in the precision on the device.
    """
    for kind, value, known in (
        ('runtime', runtime, RUNTIMES),
        ('precision', precision, PRECISIONS),
    ):
        if value not in known:
            raise UserError(f'unknown {kind} {value!r}; choose one of {", ".join(known)}.')
    if device is None:
        device = 'cuda' if runtime == 'torch' and torch.cuda.is_available() else 'cpu'
    chosen = torch.device(device)
    reason = _RUNTIMES[runtime].refusal(precision, chosen)
    if reason:
        raise UserError(
            f'got --runtime {runtime} with --precision {precision} on {chosen}, but {reason}.'
        )
    return chosen


def set_runtime(
    segmentor: BaseSegmentor,
    runtime: str,
    precision: str,
    device: torch.device,
    checkpoint: str | Path | None = None,
    config: str = '',
) -> None:
    """Let a runtime compute the predictions of a segmentor.

    The layers of the segmentor and their weights stay as they are. A segmentor that is not a
    :class:`ContextEncoderDecoder` always computes its layers.

    Args:
        segmentor: The segmentor.
        runtime: As of :class:`Execution`, like the others.
        precision: See there.
        device: See there.
        checkpoint: See there.
        config: See there.

    Raises:
        UserError: The segmentor supports neither another runtime nor another precision, or cannot
            be exported.
    """
    if not isinstance(segmentor, ContextEncoderDecoder):
        if (runtime, precision) == ('torch', 'float32'):
            return
        raise UserError(
            f'got --runtime {runtime} with --precision {precision} for a model of type '
            f'{type(segmentor).__name__}, which predicts with torch in float32 only; set '
            'model.type=ContextEncoderDecoder.'
        )
    execution = Execution(segmentor, runtime, precision, device, checkpoint, config)
    if runtime != 'torch':
        # An error belongs to the network, not to the first image.
        execution.prepare()
    segmentor.network = execution


def _weights(segmentor: BaseSegmentor) -> list[tuple[int, int]]:
    """Return what changes whenever a weight does: the address and the version of each."""
    tensors = [*segmentor.parameters(), *segmentor.buffers()]
    return [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]


def _with_pytorch(execution: Execution) -> Network:
    return pytorch.TorchNetwork(execution.segmentor, execution.precision, execution.device)


def _with_onnx_runtime(execution: Execution) -> Network:
    return _exported(execution, partial(onnx_runtime.load, device=execution.device))


def _with_openvino(execution: Execution) -> Network:
    return _exported(execution, partial(openvino.load, precision=execution.precision))


def _exported(execution: Execution, load: Any) -> Network:
    segmentor = execution.segmentor
    cache = Cache(segmentor, execution.config, execution.checkpoint)
    return ExportedNetwork(segmentor, load, cache)


_RUNTIMES: Mapping[str, Runtime] = dict(
    torch=Runtime(pytorch.refusal, _with_pytorch),
    onnxruntime=Runtime(onnx_runtime.refusal, _with_onnx_runtime),
    openvino=Runtime(openvino.refusal, _with_openvino),
)
