from .runner import EncNetRunner

__all__ = ['EncNetRunner']
