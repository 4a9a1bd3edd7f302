from .context_visualizer import ContextVisualizer

__all__ = ['ContextVisualizer']
