"""OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmseg_encnet.exporting import openvino
from mmseg_encnet.extras import require
from mmseg_encnet.runtimes.exported import Run

_HINTS = dict(float32='f32', bfloat16='bf16')


def refusal(precision: str, device: torch.device) -> str | None:
    """Return why OpenVINO cannot compute in a precision on a device, or None if it can."""
    openvino.check_installed()
    if device.type != 'cpu':
        return 'OpenVINO is supported on the CPU only; use --device cpu'
    capabilities = openvino.core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    if precision == 'bfloat16' and 'BF16' not in capabilities:
        return 'this CPU has no instructions for bfloat16; use --precision float32'
    return None


def load(content: bytes, names: Sequence[str], precision: str) -> Run:
    """Return a function from an image to the outputs of these names."""
    module = require('openvino', 'openvino')
    model = openvino.core().read_model(content, b'')
    results = [model.output(name).node for name in names]
    compiled = openvino.core().compile_model(
        module.Model(results, model.get_parameters()),
        'CPU',
        dict(
            INFERENCE_PRECISION_HINT=_HINTS[precision],
            INFERENCE_NUM_THREADS=torch.get_num_threads(),
            NUM_STREAMS=1,
        ),
    )

    def run(image: Tensor) -> dict[str, Tensor]:
        found = compiled([image.contiguous().numpy()])
        # The results are overwritten by the next image.
        return {name: torch.from_numpy(found[i].copy()) for i, name in enumerate(names)}

    return run
