"""Layers of the context encoding as plain PyTorch modules. They need torch and nothing else.

With the toolbox installed, the same classes are registered under their names, see
:mod:`mmseg_encnet.models`.
"""

from mmseg_encnet.nn.bag_of_words import BagOfWords
from mmseg_encnet.nn.base import BaseEncoder, Clusters, DictionaryEncoder, SoftAssignmentEncoder
from mmseg_encnet.nn.context_encoding import (
    ContextEncoding,
    EncodedContext,
    SemanticsEncoding,
)
from mmseg_encnet.nn.convolution import DepthwiseConv2d, WinogradConv2d
from mmseg_encnet.nn.deep_ten import DeepTENHead, DeepTENPool
from mmseg_encnet.nn.encoding import Encoding
from mmseg_encnet.nn.encoding_dropout import EncodingDropout
from mmseg_encnet.nn.fisher_vector import FisherVector
from mmseg_encnet.nn.global_average import GlobalAverage
from mmseg_encnet.nn.upsampled_cross_entropy import UpsampledCrossEntropy
from mmseg_encnet.nn.visual_centre import ExplicitVisualCentre, LearnableVisualCentre
from mmseg_encnet.nn.vlad import VLAD

__all__ = [
    'VLAD',
    'BagOfWords',
    'BaseEncoder',
    'Clusters',
    'ContextEncoding',
    'DeepTENHead',
    'DeepTENPool',
    'DepthwiseConv2d',
    'DictionaryEncoder',
    'EncodedContext',
    'Encoding',
    'EncodingDropout',
    'ExplicitVisualCentre',
    'FisherVector',
    'GlobalAverage',
    'LearnableVisualCentre',
    'SemanticsEncoding',
    'SoftAssignmentEncoder',
    'UpsampledCrossEntropy',
    'WinogradConv2d',
]
