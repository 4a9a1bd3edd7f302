from .context_encoder_decoder import ContextEncoderDecoder

__all__ = ['ContextEncoderDecoder']
