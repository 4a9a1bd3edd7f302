from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

_COLOURS = {
    'background': [0, 0, 0],
    'skin': [128, 0, 0],
    'hair': [0, 128, 0],
    'shoes': [128, 128, 0],
    'bag': [0, 0, 128],
    'pants': [128, 0, 128],
    'sunglasses': [0, 128, 128],
    'dress': [128, 128, 128],
    'purse': [64, 0, 0],
    'coat': [192, 0, 0],
    'accessories': [64, 128, 0],
    'blouse': [192, 128, 0],
    'belt': [64, 0, 128],
    'shirt': [192, 0, 128],
    'skirt': [64, 128, 128],
    'jeans': [192, 128, 128],
    'sweater': [0, 64, 0],
    'hat': [128, 64, 0],
    't-shirt': [0, 192, 0],
    'blazer': [128, 192, 0],
    'stockings': [0, 64, 128],
    'suit': [128, 64, 128],
    'bracelet': [0, 192, 128],
    'scarf': [128, 192, 128],
    'jacket': [64, 64, 0],
    'sandals': [192, 64, 0],
    'socks': [64, 192, 0],
    'shorts': [192, 192, 0],
    'vest': [64, 64, 128],
    'boots': [192, 64, 128],
    'top': [64, 192, 128],
}


@DATASETS.register_module()
class ClothingDataset(BaseSegDataset):
    """Clothing Co-Parsing with the background and the 30 garments of at least 50 photographs.

    The data set is by Yang, Luo and Lin, "Clothing co-parsing by joint image segmentation and
    labeling", CVPR 2014. Its other garments are ignored. The colours are those of the Pascal VOC
    colour map.
    """

    METAINFO = dict(classes=tuple(_COLOURS), palette=list(_COLOURS.values()))
