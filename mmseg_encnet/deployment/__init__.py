from .fold import FoldedEncNet

__all__ = ['FoldedEncNet']
