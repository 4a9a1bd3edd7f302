"""ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmseg_encnet.exporting import onnx
from mmseg_encnet.extras import require
from mmseg_encnet.runtimes.exported import Run

_PROVIDERS = {'cpu': 'CPUExecutionProvider', 'cuda': 'CUDAExecutionProvider'}


def refusal(precision: str, device: torch.device) -> str | None:
    """Return why ONNX Runtime cannot compute in a precision on a device, or None if it can."""
    onnx.check_installed()
    if precision != 'float32':
        return (
            'ONNX Runtime computes convolutions in float32 only; use --precision float32, or '
            '--runtime openvino'
        )
    if device.type not in _PROVIDERS:
        return 'ONNX Runtime is supported on cpu and cuda only; use --device cpu'
    provider = _PROVIDERS[device.type]
    if provider not in require('onnxruntime', 'onnx').get_available_providers():
        return (
            f'the installed ONNX Runtime has no {provider}; install onnxruntime-gpu, or '
            'use --device cpu'
        )
    return None


def load(content: bytes, names: Sequence[str], precision: str, device: torch.device) -> Run:
    """Return a function from an image to the outputs of these names, in single precision."""
    onnxruntime = require('onnxruntime', 'onnx')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Warnings about nodes that remain on the CPU.
    options.log_severity_level = 3
    provider: object = _PROVIDERS[device.type]
    if device.type == 'cuda':
        provider = (provider, dict(device_id=device.index or 0))
    session = onnxruntime.InferenceSession(
        onnx.with_outputs(content, names), options, providers=[provider]
    )

    def run(image: Tensor) -> dict[str, Tensor]:
        found = session.run(list(names), dict(image=image.contiguous().numpy()))
        return {name: torch.from_numpy(value) for name, value in zip(names, found)}

    return run
