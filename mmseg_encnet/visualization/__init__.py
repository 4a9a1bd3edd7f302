"""The MMSegmentation visualizer with context sheets."""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.visualization.context_visualizer import ContextVisualizer

__all__ = ['ContextVisualizer']
