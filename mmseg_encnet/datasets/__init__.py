"""Data set classes and transforms that the toolbox lacks, and checks of every sample."""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.datasets.camvid import CamVidDataset
from mmseg_encnet.datasets.clothing import ClothingDataset
from mmseg_encnet.datasets.context_scenes import ContextScenesBackend, ContextScenesDataset
from mmseg_encnet.datasets.msrc21 import MSRC21Dataset
from mmseg_encnet.datasets.transforms import (
    ChannelwiseResize,
    LoadImageFromTIFF,
    RandomGaussianBlur,
    RandomShortSideResize,
    ResizeAndCrop,
)

__all__ = [
    'CamVidDataset',
    'ChannelwiseResize',
    'ClothingDataset',
    'ContextScenesBackend',
    'ContextScenesDataset',
    'LoadImageFromTIFF',
    'MSRC21Dataset',
    'RandomGaussianBlur',
    'RandomShortSideResize',
    'ResizeAndCrop',
]
