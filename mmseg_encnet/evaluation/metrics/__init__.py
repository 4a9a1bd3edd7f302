from mmseg_encnet.evaluation.metrics.context_consistency import ContextConsistency
from mmseg_encnet.evaluation.metrics.label_image_iou_metric import LabelImageIoUMetric
from mmseg_encnet.evaluation.metrics.presence_metric import PresenceMetric
from mmseg_encnet.evaluation.metrics.twin_pixel_accuracy import TwinPixelAccuracy

__all__ = ['ContextConsistency', 'LabelImageIoUMetric', 'PresenceMetric', 'TwinPixelAccuracy']
