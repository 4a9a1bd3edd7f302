from .camvid import CamVidDataset
from .context_scenes import ContextScenesBackend, ContextScenesDataset
from .msrc21 import MSRC21Dataset
from .samplers import SeededInfiniteSampler

__all__ = [
    'CamVidDataset', 'ContextScenesBackend', 'ContextScenesDataset', 'MSRC21Dataset',
    'SeededInfiniteSampler'
]
