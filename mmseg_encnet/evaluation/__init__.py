from .metrics import TwinPixelAccuracy

__all__ = ['TwinPixelAccuracy']
