"""Export trained networks, folded for inference: ONNX, OpenVINO, torch.export, TorchScript."""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.exporting.export import (
    Agreement,
    compare_with_pytorch,
    export,
    read_description,
)
from mmseg_encnet.exporting.fold import FoldedEncNet
from mmseg_encnet.exporting.tracing import refusal

__all__ = [
    'Agreement',
    'FoldedEncNet',
    'compare_with_pytorch',
    'export',
    'read_description',
    'refusal',
]
