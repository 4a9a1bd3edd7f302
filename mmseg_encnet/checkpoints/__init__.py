"""Checkpoint files: safe loading, complete writing, and conversion from other frameworks."""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.checkpoints.conversion import (
    Conversion,
    convert_checkpoint,
    convert_state_dict,
    load_converted,
)
from mmseg_encnet.checkpoints.pytorch_encoding import (
    convert_published_encnet,
    load_imagenet_backbone,
)

__all__ = [
    'Conversion',
    'convert_checkpoint',
    'convert_published_encnet',
    'convert_state_dict',
    'load_converted',
    'load_imagenet_backbone',
]
