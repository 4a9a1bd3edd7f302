from .metrics import ContextConsistency, PresenceMetric, TwinPixelAccuracy

__all__ = ['ContextConsistency', 'PresenceMetric', 'TwinPixelAccuracy']
