"""One figure per image: the prediction and the context that the model derived it from."""

from mmseg_encnet.visualization.context_sheet.prediction import ContextPrediction
from mmseg_encnet.visualization.context_sheet.sheet import draw_sample, draw_sheet

__all__ = ['ContextPrediction', 'draw_sample', 'draw_sheet']
