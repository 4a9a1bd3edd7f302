"""EncNet and its multi-scale evaluator with the names and calls of PyTorch-Encoding."""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.hub.encnet import EncNet
from mmseg_encnet.hub.multi_eval import MultiEvalModule
from mmseg_encnet.hub.zoo import (
    get_encnet,
    get_encnet_resnet50_ade,
    get_encnet_resnet50_pcontext,
    get_encnet_resnet101_ade,
    get_encnet_resnet101_pcontext,
)

__all__ = [
    'EncNet',
    'MultiEvalModule',
    'get_encnet',
    'get_encnet_resnet50_ade',
    'get_encnet_resnet50_pcontext',
    'get_encnet_resnet101_ade',
    'get_encnet_resnet101_pcontext',
]
