"""Metrics of the context branch."""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.evaluation.metrics import (
    ContextConsistency,
    LabelImageIoUMetric,
    PresenceMetric,
    TwinPixelAccuracy,
)

__all__ = ['ContextConsistency', 'LabelImageIoUMetric', 'PresenceMetric', 'TwinPixelAccuracy']
