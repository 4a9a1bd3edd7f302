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
from mmseg_encnet.runtimes.exported import ExportedNetwork, Load


@dataclass(frozen=True)
class Choice:
    """A runtime with a precision and a device that it supports, from :func:`choose_runtime`.

    Attributes:
        runtime: One of :data:`RUNTIMES`.
        precision: One of :data:`PRECISIONS`.
        device: Device of the runtime.
    """

    runtime: str
    precision: str
    device: torch.device

    @property
    def model_device(self) -> torch.device:
        """Device of the segmentor, with which the other runtimes exchange arrays on the CPU."""
        return self.device if self.runtime == 'torch' else torch.device('cpu')


def choose_runtime(
    runtime: str = 'torch', precision: str = 'float32', device: str | None = None
) -> Choice:
    """Check that a runtime can compute networks here.

    Args:
        runtime: One of :data:`RUNTIMES`.
        precision: One of :data:`PRECISIONS`.
        device: Device such as ``cpu`` or ``cuda:0``; by default a GPU if one is available and
            the runtime is PyTorch.

    Raises:
        UserError: Runtime, precision or device is unknown, a package is not installed, or the
            runtime cannot compute in the precision on the device.
    """
    for kind, value, known in (
        ('runtime', runtime, RUNTIMES),
        ('precision', precision, PRECISIONS),
    ):
        if value not in known:
            raise UserError(f'unknown {kind} {value!r}; choose one of {", ".join(known)}.')
    if device is None:
        device = 'cuda' if runtime == 'torch' and torch.cuda.is_available() else 'cpu'
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(f'unknown device {device!r}; choose e.g. cpu or cuda:0.') from error
    reason = _RUNTIMES[runtime].refusal(precision, chosen)
    if reason:
        raise UserError(
            f'got --runtime {runtime} with --precision {precision} on {chosen}, but {reason}.'
        )
    return Choice(runtime, precision, chosen)


class Execution:
    """Computes a segmentor with a runtime, in place of its layers.

    The network is prepared at the first call, and again after the weights have changed.

    Args:
        segmentor: The segmentor, which is not modified.
        choice: The runtime.
        checkpoint: Checkpoint of the weights. Exported files are kept in its folder; in the user's
            cache folder if it is not a file, ships with this package or its folder is not writable.
        config: Config of the model, which determines the network together with the weights.
    """

    def __init__(
        self,
        segmentor: BaseSegmentor,
        choice: Choice,
        checkpoint: str | Path | None,
        config: Mapping[str, Any],
    ) -> None:
        self.segmentor, self.choice, self.config = segmentor, choice, config
        shipped = str(checkpoint).startswith(SCHEME)
        file = None if checkpoint is None or shipped else Path(checkpoint)
        self.checkpoint = file if file is not None and file.is_file() else None
        self._network: Network | None = None
        self._prepared_for: list[tuple[int, int]] = []

    @property
    def has_own_threads(self) -> bool:
        """Whether the runtime has threads of its own."""
        return self.choice.runtime != 'torch'

    def prepare(self) -> Network:
        """Return the network for the present weights.

        Raises:
            UserError: The network cannot be exported.
        """
        weights = _weights(self.segmentor)
        if self._network is None or weights != self._prepared_for:
            # Freed before the next one is prepared.
            self._network = None
            self._network = _RUNTIMES[self.choice.runtime].prepare(self)
            self._prepared_for = weights
        return self._network

    def __call__(self, images: Tensor, maps: Sequence[int] = ()) -> Segmentation:
        """Compute what :func:`mmseg_encnet.models.segmentors.context.segment` returns."""
        return self.prepare()(images, maps)

    def __getstate__(self) -> dict[str, Any]:
        # Sessions of the runtimes cannot be copied; a copy prepares another one.
        return dict(self.__dict__, _network=None)


def set_runtime(
    segmentor: BaseSegmentor,
    choice: Choice,
    checkpoint: str | Path | None,
    config: Mapping[str, Any],
) -> None:
    """Let a runtime compute the predictions of a segmentor.

    The layers of the segmentor and their weights stay as they are. A segmentor that is not a
    :class:`ContextEncoderDecoder` always computes its layers.

    Args:
        segmentor: The segmentor, on ``choice.model_device``.
        choice: The runtime.
        checkpoint: As of :class:`Execution`.
        config: As of :class:`Execution`.

    Raises:
        UserError: The segmentor supports neither another runtime nor another precision, or cannot
            be exported.
    """
    if not isinstance(segmentor, ContextEncoderDecoder):
        if (choice.runtime, choice.precision) == ('torch', 'float32'):
            return
        raise UserError(
            f'got --runtime {choice.runtime} with --precision {choice.precision} for a model of '
            f'type {type(segmentor).__name__}, which predicts with torch in float32 only; set '
            'model.type=ContextEncoderDecoder.'
        )
    execution = Execution(segmentor, choice, checkpoint, config)
    if choice.runtime != 'torch':
        # Its errors concern the network, not the first image.
        execution.prepare()
    segmentor.network = execution


@dataclass(frozen=True)
class _Runtime:
    """What computes networks.

    Attributes:
        refusal: Function of precision and device that returns why it cannot compute, or None.
        prepare: Function that returns the network of an :class:`Execution`.
    """

    refusal: Callable[[str, torch.device], str | None]
    prepare: Callable[[Execution], Network]


def _with_pytorch(execution: Execution) -> Network:
    return pytorch.TorchNetwork(execution.segmentor, execution.choice.precision)


def _with_onnx_runtime(execution: Execution) -> Network:
    return _exported(execution, partial(onnx_runtime.load, device=execution.choice.device))


def _with_openvino(execution: Execution) -> Network:
    return _exported(execution, openvino.load)


def _exported(execution: Execution, load: Load) -> Network:
    segmentor, precision = execution.segmentor, execution.choice.precision
    cache = Cache(segmentor, execution.config, precision, execution.checkpoint)
    return ExportedNetwork(segmentor, precision, load, cache)


def _weights(segmentor: BaseSegmentor) -> list[tuple[int, int]]:
    """Return what changes whenever a weight does: the address and the version of each."""
    tensors = [*segmentor.parameters(), *segmentor.buffers()]
    return [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]


_RUNTIMES: Mapping[str, _Runtime] = dict(
    torch=_Runtime(pytorch.refusal, _with_pytorch),
    onnxruntime=_Runtime(onnx_runtime.refusal, _with_onnx_runtime),
    openvino=_Runtime(openvino.refusal, _with_openvino),
)
