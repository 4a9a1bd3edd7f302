from .context_encoder_decoder import ContextEncoderDecoder
from .published_tta import PublishedTTAModel

__all__ = ['ContextEncoderDecoder', 'PublishedTTAModel']
