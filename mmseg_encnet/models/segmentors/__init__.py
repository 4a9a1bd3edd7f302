from .context_encoder_decoder import ContextEncoderDecoder
from .published_tta import PublishedTTAModel
from .suppression import absent_classes, suppress_absent

__all__ = ['ContextEncoderDecoder', 'PublishedTTAModel', 'absent_classes', 'suppress_absent']
