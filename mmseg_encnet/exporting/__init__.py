"""Export trained networks: folded for inference, and as ONNX."""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.exporting.fold import FoldedEncNet

__all__ = ['FoldedEncNet']
