"""EncNet with the names and calls of PyTorch-Encoding, and trained networks to share.

``EncNet``, ``get_encnet`` and ``MultiEvalModule`` are those of PyTorch-Encoding;
``save_pretrained``, ``push_to_hub`` and ``from_pretrained`` exchange networks with a folder or the
Hugging Face Hub.
"""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.hub.encnet import EncNet
from mmseg_encnet.hub.huggingface import from_pretrained, push_folder, push_to_hub
from mmseg_encnet.hub.model_card import Card, Metric
from mmseg_encnet.hub.multi_eval import MultiEvalModule
from mmseg_encnet.hub.pretrained import save_pretrained
from mmseg_encnet.hub.zoo import (
    get_encnet,
    get_encnet_resnet50_ade,
    get_encnet_resnet50_pcontext,
    get_encnet_resnet101_ade,
    get_encnet_resnet101_pcontext,
)

__all__ = [
    'Card',
    'EncNet',
    'Metric',
    'MultiEvalModule',
    'from_pretrained',
    'get_encnet',
    'get_encnet_resnet50_ade',
    'get_encnet_resnet50_pcontext',
    'get_encnet_resnet101_ade',
    'get_encnet_resnet101_pcontext',
    'push_folder',
    'push_to_hub',
    'save_pretrained',
]
