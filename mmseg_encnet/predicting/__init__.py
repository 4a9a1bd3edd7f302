"""A trained model on the photographs and videos that a person wants labelled."""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.predicting.inputs import ImageFile, Picture, Video, find_inputs
from mmseg_encnet.predicting.outputs import PredictionWriter, write_predictions
from mmseg_encnet.predicting.segmentor import Segmentor, load_segmentor, suppress_absent_classes

__all__ = [
    'ImageFile',
    'Picture',
    'PredictionWriter',
    'Segmentor',
    'Video',
    'find_inputs',
    'load_segmentor',
    'suppress_absent_classes',
    'write_predictions',
]
