from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

_COLOURS = {
    'building': [128, 0, 0],
    'grass': [0, 128, 0],
    'tree': [128, 128, 0],
    'cow': [0, 0, 128],
    'sheep': [0, 128, 128],
    'sky': [128, 128, 128],
    'aeroplane': [192, 0, 0],
    'water': [64, 128, 0],
    'face': [192, 128, 0],
    'car': [64, 0, 128],
    'bicycle': [192, 0, 128],
    'flower': [64, 128, 128],
    'sign': [192, 128, 128],
    'bird': [0, 64, 0],
    'book': [128, 64, 0],
    'chair': [0, 192, 0],
    'road': [128, 64, 128],
    'cat': [0, 192, 128],
    'dog': [128, 192, 128],
    'body': [64, 64, 0],
    'boat': [192, 64, 0],
}


@DATASETS.register_module()
class MSRC21Dataset(BaseSegDataset):
    """MSRC-21: the Microsoft Research Cambridge object recognition database, version 2.

    The database is by Shotton et al., "TextonBoost", ECCV 2006. Labels are its own or the
    cleaned-up ones by Malisiewicz and Efros (docs/datasets.md). Classes and colours are those of
    the database; horse and mountain have too few examples and are ignored, as usual.
    """

    METAINFO = dict(classes=tuple(_COLOURS), palette=list(_COLOURS.values()))
