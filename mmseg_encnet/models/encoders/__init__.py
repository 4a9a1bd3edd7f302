from .bag_of_words import BagOfWords
from .base import BaseEncoder, Clusters, DictionaryEncoder, SoftAssignmentEncoder
from .encoding import Encoding
from .encoding_dropout import EncodingDropout
from .fisher_vector import FisherVector
from .global_average import GlobalAverage
from .vlad import VLAD

__all__ = [
    'VLAD', 'BagOfWords', 'BaseEncoder', 'Clusters', 'DictionaryEncoder', 'Encoding',
    'EncodingDropout', 'FisherVector', 'GlobalAverage', 'SoftAssignmentEncoder'
]
