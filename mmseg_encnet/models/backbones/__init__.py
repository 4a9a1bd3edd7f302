from mmseg_encnet.models.backbones.efficientnet_lite import EfficientNetLite
from mmseg_encnet.models.backbones.hf_backbone import HFBackbone
from mmseg_encnet.models.backbones.resnet_v1s import ResNetV1s

__all__ = ['EfficientNetLite', 'HFBackbone', 'ResNetV1s']
