from .context_encoder_decoder import ContextEncoderDecoder
from .context_tta import ContextTTAModel
from .published_tta import PublishedTTAModel
from .suppression import absent_classes, suppress_absent

__all__ = [
    'ContextEncoderDecoder', 'ContextTTAModel', 'PublishedTTAModel', 'absent_classes',
    'suppress_absent'
]
