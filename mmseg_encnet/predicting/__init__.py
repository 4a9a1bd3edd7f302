"""Predict images and videos with a trained model."""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.predicting.inputs import ImageFile, InputImage, Video, find_inputs
from mmseg_encnet.predicting.outputs import PredictionWriter, write_predictions
from mmseg_encnet.predicting.pipeline import Prediction, Throughput, predict_images
from mmseg_encnet.predicting.segmentor import (
    LoadedImage,
    PreparedImage,
    Segmentor,
    image_suffixes,
    load_segmentor,
    suppress_absent_classes,
)

__all__ = [
    'ImageFile',
    'InputImage',
    'LoadedImage',
    'Prediction',
    'PredictionWriter',
    'PreparedImage',
    'Segmentor',
    'Throughput',
    'Video',
    'find_inputs',
    'image_suffixes',
    'load_segmentor',
    'predict_images',
    'suppress_absent_classes',
    'write_predictions',
]
