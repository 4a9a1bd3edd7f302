from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

_COLOURS = {
    'sky': [128, 128, 128],
    'building': [128, 0, 0],
    'pole': [192, 192, 128],
    'road': [128, 64, 128],
    'pavement': [60, 40, 222],
    'tree': [128, 128, 0],
    'sign': [192, 128, 128],
    'fence': [64, 64, 128],
    'car': [64, 0, 128],
    'pedestrian': [64, 64, 0],
    'bicyclist': [0, 128, 192],
}


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid, the Cambridge-driving labelled video database, with the 11 classes of SegNet.

    The database is by Brostow et al., "Semantic object classes in video", Pattern Recognition
    Letters 2009. Classes and colours are those of Badrinarayanan et al., "SegNet", TPAMI 2017.
    """

    METAINFO = dict(classes=tuple(_COLOURS), palette=list(_COLOURS.values()))
