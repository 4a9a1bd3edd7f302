from .backbones import ResNetV1s
from .decode_heads import AuxFCNHead, EncodingHead
from .encoders import Encoding
from .losses import SemanticEncodingLoss, SyncCrossEntropyLoss
from .segmentors import ContextEncoderDecoder, PublishedTTAModel

__all__ = [
    'AuxFCNHead', 'ContextEncoderDecoder', 'Encoding', 'EncodingHead', 'PublishedTTAModel',
    'ResNetV1s', 'SemanticEncodingLoss', 'SyncCrossEntropyLoss'
]
