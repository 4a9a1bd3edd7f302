from .conversion import Conversion, convert_checkpoint, convert_state_dict, load_converted
from .pytorch_encoding import convert_published_encnet, load_imagenet_backbone

__all__ = [
    'Conversion', 'convert_checkpoint', 'convert_published_encnet', 'convert_state_dict',
    'load_converted', 'load_imagenet_backbone'
]
