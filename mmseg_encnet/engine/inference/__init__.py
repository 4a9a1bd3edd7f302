"""A trained model on the photographs and videos that a person wants labelled."""

from .inputs import ImageFile, Picture, Video, find_inputs
from .outputs import PredictionWriter, write_predictions
from .segmentor import Segmentor, load_segmentor, suppress_absent_classes

__all__ = [
    'ImageFile', 'Picture', 'PredictionWriter', 'Segmentor', 'Video', 'find_inputs',
    'load_segmentor', 'suppress_absent_classes', 'write_predictions'
]
