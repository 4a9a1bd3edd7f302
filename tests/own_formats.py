"""Write images and labels as annotation tools and published data sets lay them out."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image

NAMES = ('background', 'wall', 'window', 'door')
COLOURS = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)], np.uint8)
Set = dict[str, tuple[np.ndarray, np.ndarray]]


def draw_set(count: int = 5, ignored: bool = False) -> Set:
    """Draw images and labels of rectangles in four classes, 0 being the background."""
    rng = np.random.default_rng(3)
    result = {}
    for index in range(count):
        height, width = (32, 44) if index % 2 else (40, 36)
        label = np.zeros((height, width), np.uint8)
        label[2:20, 4:30] = 1
        label[6:12, 8:14] = 2
        label[10 : 18 + index, 18:26] = 3
        if ignored:
            label[:1] = 255
        noise = rng.integers(0, 16, (height, width, 3))
        image = (COLOURS[np.where(label == 255, 0, label)] + noise).astype(np.uint8)
        result[f'img_{index:03d}'] = (image, label)
    return result


def save(path: Path, pixels: np.ndarray, palette: np.ndarray | None = None, **options: Any) -> None:
    """Save an array, with a palette if one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette.ravel().tolist())
    image.save(path, **options)


def rectangles(mask: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Yield left, top, right and bottom, exclusive, of rectangles that cover a mask exactly."""
    left = mask.copy()
    while left.any():
        top, start = np.argwhere(left)[0]
        end = start
        while end < mask.shape[1] and left[top, end]:
            end += 1
        bottom = top
        while bottom < mask.shape[0] and left[bottom, start:end].all():
            bottom += 1
        left[top:bottom, start:end] = False
        yield int(start), int(top), int(end), int(bottom)


def corners(box: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    """Return the corners of a rectangle."""
    left, top, right, bottom = box
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def write_colours(path: Path, count: int = 4) -> None:
    """Write a table of the first classes with their colours."""
    rows = [f'{n},{r},{g},{b}' for n, (r, g, b) in zip(NAMES[:count], COLOURS.tolist())]
    path.write_text('name,r,g,b\n' + '\n'.join(rows))


def index_png(root: Path, data: Set) -> None:
    for name, (image, label) in data.items():
        save(root / f'images/{name}.jpg', image)
        save(root / f'labels/{name}.png', label)


def palette_png(root: Path, data: Set) -> None:
    for name, (image, label) in data.items():
        save(root / f'img/{name}.png', image)
        save(root / f'mask/{name}.png', label, np.resize(COLOURS, (256, 3)))


def coloured(root: Path, data: Set) -> None:
    """Write RGB labels in the order of CamVid's files, with its list of colours."""
    for name, (image, label) in data.items():
        save(root / f'701_StillsRaw/{name}.png', image)
        save(root / f'LabeledApproved/{name}_L.png', COLOURS[label])
    lines = [f'{r} {g} {b}\t\t{name}' for (r, g, b), name in zip(COLOURS.tolist(), NAMES)]
    (root / 'label_colors.txt').write_text('\n'.join(lines))


def one_folder(root: Path, data: Set) -> None:
    """Write what the CMP facade database contains: image, label and XML side by side."""
    for index, (name, (image, label)) in enumerate(data.items()):
        folder = root / ('base' if index % 2 else 'extended')
        save(folder / f'{name}.jpg', image)
        save(folder / f'{name}.png', COLOURS[label])
        (folder / f'{name}.xml').write_text('<object>\n<label>4</label>\n</object>\n<object/>\n')
    write_colours(root / 'class_dict.csv')


def roboflow_masks(root: Path, data: Set) -> None:
    """Write the semantic masks that Roboflow exports."""
    for index, (name, (image, label)) in enumerate(data.items()):
        folder = root / ('valid' if index == 0 else 'train')
        save(folder / f'{name}.jpg', image)
        save(folder / f'{name}_mask.png', label)
        lines = [f'{value}, {title}' for value, title in enumerate(NAMES)]
        (folder / '_classes.csv').write_text('Pixel Value, Class\n' + '\n'.join(lines))


def masks_by_class(root: Path, data: Set) -> None:
    for name, (image, label) in data.items():
        save(root / f'images/{name}.jpg', image)
        for value, title in enumerate(NAMES[1:], 1):
            if (label == value).any():
                save(root / f'masks/{title}/{name}.png', np.uint8(255) * (label == value))
    (root / 'classes.txt').write_text('\n'.join(NAMES))


def masks_by_image(root: Path, data: Set) -> None:
    for name, (image, label) in data.items():
        save(root / f'{name}/{name}.jpg', image)
        for value, title in enumerate(NAMES[1:], 1):
            save(root / f'{name}/masks/{name}_{title}.png', label == value)
    (root / 'classes.txt').write_text('\n'.join(NAMES))


def pascal(root: Path, data: Set) -> None:
    """Write the folders of VOC, with an image that has no label."""
    lists = root / 'VOC2012/ImageSets/Segmentation'
    lists.mkdir(parents=True)
    palette = np.zeros((256, 3), np.uint8)
    palette[:4], palette[255] = COLOURS, (224, 224, 192)
    for name, (image, label) in data.items():
        save(root / f'VOC2012/JPEGImages/{name}.jpg', image)
        save(root / f'VOC2012/SegmentationClass/{name}.png', label, palette)
        save(root / f'VOC2012/SegmentationObject/{name}.png', label, palette)
    save(root / 'VOC2012/JPEGImages/other.jpg', image)
    names = list(data)
    (lists / 'train.txt').write_text('\n'.join(names[1:]))
    (lists / 'val.txt').write_text('\n'.join(names[:1]))
    (lists / 'trainval.txt').write_text('\n'.join(names))
    (root / 'class_names.txt').write_text('\n'.join(NAMES))


def cvat_masks(root: Path, data: Set) -> None:
    """Write CVAT's export 'Segmentation mask 1.1'."""
    palette = COLOURS.copy()
    lists = root / 'ImageSets/Segmentation'
    lists.mkdir(parents=True)
    for name, (image, label) in data.items():
        save(root / f'JPEGImages/{name}.jpg', image)
        save(root / f'SegmentationClass/{name}.png', palette[label])
    (lists / 'default.txt').write_text('\n'.join(data))
    lines = [f'{name}:{r},{g},{b}::' for name, (r, g, b) in zip(NAMES, palette.tolist())]
    (root / 'labelmap.txt').write_text('# label:color_rgb:parts:actions\n' + '\n'.join(lines))


def coco(root: Path, data: Set) -> None:
    """Write polygons, run lengths in a list (a crowd) and, for the doors, in a string."""
    from pycocotools import mask as coco_mask

    images, annotations = [], []
    for number, (name, (image, label)) in enumerate(data.items(), 1):
        save(root / f'val2017/{name}.jpg', image)
        height, width = label.shape
        images.append(dict(id=number, file_name=f'{name}.jpg', height=height, width=width))
        for value in (3, 2, 1):
            mask = label == value
            segmentation: Any
            if value == 1:
                # Below the others, although it comes last: a crowd may cover everything.
                flat = (label > 0).T.ravel()
                edges = np.flatnonzero(np.diff(flat.astype(int), prepend=0)) if flat.any() else []
                counts = np.diff([0, *edges, flat.size]).tolist()
                segmentation = dict(size=[height, width], counts=counts)
            elif value == 2:
                boxes = rectangles(mask)
                segmentation = [[x for point in corners(box) for x in point] for box in boxes]
            else:
                packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
                segmentation = dict(packed, counts=packed['counts'].decode())
            annotations.append(
                dict(
                    id=len(annotations),
                    image_id=number,
                    category_id=10 * value,
                    iscrowd=int(value == 1),
                    segmentation=segmentation,
                    area=int(mask.sum()),
                    bbox=[0, 0, 1, 1],
                )
            )
    categories = [
        dict(id=10 * value, name=NAMES[value], supercategory='none') for value in (3, 1, 2)
    ]
    (root / 'annotations').mkdir()
    (root / 'annotations/instances_val2017.json').write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )


def labelme(root: Path, data: Set) -> None:
    """Write LabelMe 5 files: polygons, rectangles and masks; every second holds its image."""
    for index, (name, (image, label)) in enumerate(data.items()):
        embedded = index % 2 == 1
        file = io.BytesIO()
        Image.fromarray(image).save(file, 'PNG')
        if embedded:
            root.mkdir(exist_ok=True)
        else:
            save(root / f'{name}.png', image)
        shapes = []
        for value in (1, 2, 3):
            # The outline belongs to a shape, so its last row and column are one less.
            for left, top, right, bottom in rectangles(label == value):
                shape = dict(label=NAMES[value], group_id=None, flags={})
                if value == 1:
                    points: list = corners((left, top, right - 1, bottom - 1))
                    shape.update(points=points, shape_type='polygon')
                elif value == 2:
                    points = [(right - 1, bottom - 1), (left, top)]
                    shape.update(points=points, shape_type='rectangle')
                else:
                    mask = io.BytesIO()
                    Image.new('1', (right - left, bottom - top), 1).save(mask, 'PNG')
                    shape.update(
                        points=[(left, top), (right - 1, bottom - 1)],
                        shape_type='mask',
                        mask=base64.b64encode(mask.getvalue()).decode(),
                    )
                shapes.append(shape)
        content = dict(
            version='5.5.0',
            flags={},
            shapes=shapes,
            imagePath=f'..\\photos\\{name}.png',
            imageData=base64.b64encode(file.getvalue()).decode() if embedded else None,
            imageHeight=label.shape[0],
            imageWidth=label.shape[1],
        )
        (root / f'{name}.json').write_text(json.dumps(content, indent=2))
    (root / 'labels.txt').write_text('__ignore__\n_background_\n' + '\n'.join(NAMES[1:]))


def cvat_xml(root: Path, data: Set) -> None:
    """Write CVAT for images 1.1: boxes below, polygons, and masks in run lengths on top."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', '<annotations>', '<version>1.1</version>']
    lines.append('<meta><task><labels>')
    for value in (1, 2, 3):
        colour = '#{:02x}{:02x}{:02x}'.format(*COLOURS[value])
        lines.append(f'<label><name>{NAMES[value]}</name><color>{colour}</color></label>')
    lines.append('</labels></task></meta>')
    for number, (name, (image, label)) in enumerate(data.items()):
        save(root / f'images/street/{name}.png', image)
        height, width = label.shape
        lines.append(
            f'<image id="{number}" name={quoteattr(f"street/{name}.png")} width="{width}" '
            f'height="{height}">'
        )
        # The mask comes first in the file but lies on top.
        mask = label == 3
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].ravel()
        edges = np.flatnonzero(np.diff(part.astype(int), prepend=0))
        counts = ', '.join(map(str, np.diff([0, *edges, part.size])))
        lines.append(
            f'<mask label="door" source="manual" occluded="0" rle="{counts}" left="{columns[0]}" '
            f'top="{rows[0]}" width="{np.ptp(columns) + 1}" height="{np.ptp(rows) + 1}" '
            'z_order="2"></mask>'
        )
        for box in rectangles(label == 2):
            points = ';'.join(f'{x:.2f},{y:.2f}' for x, y in corners(box))
            lines.append(f'<polygon label="window" points="{points}" z_order="1"></polygon>')
        for left, top, right, bottom in rectangles(label > 0):
            lines.append(
                f'<box label="wall" xtl="{left}.00" ytl="{top}.00" xbr="{right}.00" '
                f'ybr="{bottom}.00" z_order="0"></box>'
            )
        lines.append('</image>')
    (root / 'annotations.xml').write_text('\n'.join([*lines, '</annotations>']))


WRITERS: dict[str, Callable[[Path, Set], None]] = {
    writer.__name__: writer
    for writer in (
        index_png,
        palette_png,
        coloured,
        one_folder,
        roboflow_masks,
        masks_by_class,
        masks_by_image,
        pascal,
        cvat_masks,
        coco,
        labelme,
        cvat_xml,
    )
}
