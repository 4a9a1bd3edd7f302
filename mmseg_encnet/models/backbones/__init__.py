from mmseg_encnet.models.backbones.resnet_v1s import ResNetV1s

__all__ = ['ResNetV1s']
