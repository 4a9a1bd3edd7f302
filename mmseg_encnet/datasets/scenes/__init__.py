"""Drawing of context scenes, with NumPy and OpenCV only."""

from mmseg_encnet.datasets.scenes.classes import CLASSES, PAIRS, PALETTE, TWINS, Setting
from mmseg_encnet.datasets.scenes.scene import SPLITS, Scene, draw_scene

__all__ = ['CLASSES', 'PAIRS', 'PALETTE', 'SPLITS', 'TWINS', 'Scene', 'Setting', 'draw_scene']
