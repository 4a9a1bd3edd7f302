from .context_consistency import ContextConsistency
from .presence_metric import PresenceMetric
from .twin_pixel_accuracy import TwinPixelAccuracy

__all__ = ['ContextConsistency', 'PresenceMetric', 'TwinPixelAccuracy']
