from .backbones import ResNetV1s
from .decode_heads import AuxFCNHead, EncodingHead
from .encoders import Encoding
from .losses import SemanticEncodingLoss, SyncCrossEntropyLoss
from .segmentors import ContextEncoderDecoder, ContextTTAModel, PublishedTTAModel

__all__ = [
    'AuxFCNHead', 'ContextEncoderDecoder', 'ContextTTAModel', 'Encoding', 'EncodingHead',
    'PublishedTTAModel', 'ResNetV1s', 'SemanticEncodingLoss', 'SyncCrossEntropyLoss'
]
