from .backbones import ResNetV1s
from .decode_heads import AuxFCNHead, EncodingHead
from .encoders import Encoding
from .losses import SemanticEncodingLoss
from .segmentors import ContextEncoderDecoder

__all__ = [
    'AuxFCNHead', 'ContextEncoderDecoder', 'Encoding', 'EncodingHead', 'ResNetV1s',
    'SemanticEncodingLoss'
]
