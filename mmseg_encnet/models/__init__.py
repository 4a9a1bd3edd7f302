"""Parts of the toolbox, built from configs: backbone, encoders, heads, losses, segmentors."""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.models import encoders  # noqa: F401  (registers them)
from mmseg_encnet.models.backbones import EfficientNetLite, HFBackbone, ResNetV1s
from mmseg_encnet.models.channels_preprocessor import ChannelsPreProcessor
from mmseg_encnet.models.decode_heads import (
    AuxEncodingHead,
    AuxFCNHead,
    EncodingHead,
    PresenceHead,
    UpsampledLossDecodeHead,
    build_upsampled_loss_head,
)
from mmseg_encnet.models.initialisation import PyTorchDefaultInit
from mmseg_encnet.models.losses import SemanticEncodingLoss, SyncCrossEntropyLoss
from mmseg_encnet.models.pixel_samplers import BoundaryPixelSampler
from mmseg_encnet.models.segmentors import (
    ContextCascadeEncoderDecoder,
    ContextEncoderDecoder,
    ContextTTAModel,
    PublishedTTAModel,
)

__all__ = [
    'AuxEncodingHead',
    'AuxFCNHead',
    'BoundaryPixelSampler',
    'ChannelsPreProcessor',
    'ContextCascadeEncoderDecoder',
    'ContextEncoderDecoder',
    'ContextTTAModel',
    'EfficientNetLite',
    'EncodingHead',
    'HFBackbone',
    'PresenceHead',
    'PublishedTTAModel',
    'PyTorchDefaultInit',
    'ResNetV1s',
    'SemanticEncodingLoss',
    'SyncCrossEntropyLoss',
    'UpsampledLossDecodeHead',
    'build_upsampled_loss_head',
]
