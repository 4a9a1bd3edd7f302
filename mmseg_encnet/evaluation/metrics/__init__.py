from .twin_pixel_accuracy import TwinPixelAccuracy

__all__ = ['TwinPixelAccuracy']
