"""Compute the network of a segmentor at inference with PyTorch, ONNX Runtime or OpenVINO.

A runtime replaces backbone, neck and heads: it computes the scores in the resolution of the head
and the context. Windows, scales, upsampling, labels and suppression are the same code for all.
"""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.runtimes.execution import Execution, choose_runtime, set_runtime

__all__ = ['Execution', 'choose_runtime', 'set_runtime']
