from .pytorch_encoding import load_imagenet_backbone

__all__ = ['load_imagenet_backbone']
