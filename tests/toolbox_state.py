"""Reset the toolbox's process-wide state."""

from __future__ import annotations

from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.visualization import Visualizer
from mmseg.visualization import SegLocalVisualizer


def clear_toolbox_state() -> None:
    """Forget the loggers, visualizers and default scopes of previous runs."""
    for manager in (DefaultScope, MessageHub, MMLogger, Visualizer, SegLocalVisualizer):
        manager._instance_dict.clear()
    init_default_scope('mmseg')
