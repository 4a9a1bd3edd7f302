from mmseg_encnet.models.segmentors.context_encoder_decoder import (
    ContextCascadeEncoderDecoder,
    ContextEncoderDecoder,
)
from mmseg_encnet.models.segmentors.context_tta import ContextTTAModel
from mmseg_encnet.models.segmentors.published_tta import PublishedTTAModel
from mmseg_encnet.models.segmentors.score_map import ScoreMap
from mmseg_encnet.models.segmentors.suppression import absent_classes

__all__ = [
    'ContextCascadeEncoderDecoder',
    'ContextEncoderDecoder',
    'ContextTTAModel',
    'PublishedTTAModel',
    'ScoreMap',
    'absent_classes',
]
