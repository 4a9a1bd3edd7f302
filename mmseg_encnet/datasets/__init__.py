"""Data set classes that the toolbox lacks, and checks of every sample."""

from mmseg_encnet.toolbox import require_toolbox

require_toolbox()

from mmseg_encnet.datasets.camvid import CamVidDataset
from mmseg_encnet.datasets.context_scenes import ContextScenesBackend, ContextScenesDataset
from mmseg_encnet.datasets.msrc21 import MSRC21Dataset

__all__ = ['CamVidDataset', 'ContextScenesBackend', 'ContextScenesDataset', 'MSRC21Dataset']
