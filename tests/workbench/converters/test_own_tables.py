"""Own data: tables of classes in the forms that tools and data sets have, and names of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.own.classes import read_table
from mmseg_encnet.workbench.converters.own.files import core_of, is_label_name, place_of

RED, BLUE = (255, 0, 0), (0, 0, 255)
TABLES = {
    'names.txt': ('sky\nred roof\n', [('sky', None, None), ('red roof', None, None)]),
    'numbered.txt': ('0 sky\n1: red roof\n', [('sky', 0, None), ('red roof', 1, None)]),
    'cmp.txt': ('sky\t1\nred roof\t2\n', [('sky', 1, None), ('red roof', 2, None)]),
    'lanes.txt': ('lane 1\nlane 2\n', [('lane 1', None, None), ('lane 2', None, None)]),
    'camvid.txt': ('255 0 0\t\tsky\n0 0 255\troof\n', [('sky', None, RED), ('roof', None, BLUE)]),
    'labelmap.txt': (
        '# label:color_rgb:parts:actions\nsky:255,0,0::\nroof:0,0,255:a,b:\n',
        [('sky', None, RED), ('roof', None, BLUE)],
    ),
    'after.txt': ('sky 255 0 0\nroof (0, 0, 255)\n', [('sky', None, RED), ('roof', None, BLUE)]),
    'four.txt': ('7 255 0 0 sky\n9 0 0 255 roof\n', [('sky', 7, RED), ('roof', 9, BLUE)]),
    'hex.txt': ('sky #ff0000\n#0000FF roof\n', [('sky', None, RED), ('roof', None, BLUE)]),
    '_classes.csv': (
        'Pixel Value, Class\n0, sky\n1, roof\n',
        [('sky', 0, None), ('roof', 1, None)],
    ),
    'class_dict.csv': (
        'name,r,g,b\nsky,255,0,0\nroof,0,0,255\n',
        [('sky', None, RED), ('roof', None, BLUE)],
    ),
    'hex.csv': ('id;name;color\n3;sky;#ff0000\n', [('sky', 3, RED)]),
    'bom.csv': ('\ufeffname,red,green,blue\nsky,255,0,0\n', [('sky', None, RED)]),
    'dict.json': (
        '{"sky": [255, 0, 0], "roof": "#0000ff"}',
        [('sky', None, RED), ('roof', None, BLUE)],
    ),
    'values.json': ('{"0": "sky", "1": "roof"}', [('sky', 0, None), ('roof', 1, None)]),
    'list.json': ('["sky", "roof"]', [('sky', None, None), ('roof', None, None)]),
    'meta.json': (
        '{"classes": [{"title": "sky", "shape": "any", "color": "#FF0000", "id": 5}], "tags": []}',
        [('sky', 5, RED)],
    ),
    'cvat.json': ('[{"name": "sky", "id": 1, "color": "#ff0000"}]', [('sky', 1, RED)]),
    'rgb.json': ('[{"name": "sky", "r": 255, "g": 0, "b": 0}]', [('sky', None, RED)]),
}


@pytest.mark.parametrize('name', TABLES)
def test_tables(name: str, tmp_path: Path) -> None:
    text, expected = TABLES[name]
    (tmp_path / name).write_text(text, encoding='utf-8')
    entries = read_table(tmp_path / name)
    assert [(entry.name, entry.value, entry.colour) for entry in entries] == expected


@pytest.mark.parametrize(
    'name, text, message',
    [
        ('a.txt', '', 'lists no class'),
        ('a.txt', 'sky 300 0 0\n', r'\[300, 0, 0\] is not an RGB colour'),
        ('a.txt', 'sky 1\nroof 1\n', 'lists the value 1 twice'),
        ('a.csv', 'name,r,g,b\nsky,255,0,0\nroof,255,0,0\n', 'the colour #ff0000 twice'),
        ('a.csv', 'name,r,g,b\nsky,x,0,0\n', "line 'sky,x,0,0' of class table"),
        ('a.txt', 'sky\nsky\n', "lists the name 'sky' twice"),
        ('a.json', '{"sky": ', 'cannot be read'),
        ('a.json', '[{"color": "#ff0000"}]', 'has no name'),
    ],
)
def test_faulty_tables(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_table(tmp_path / name)
    with pytest.raises(UserError, match='cannot be read'):
        read_table(tmp_path / 'missing.txt')


@pytest.mark.parametrize(
    'path, folder, split, role',
    [
        ('images/train/a/1.jpg', 'a', 'train', 'image'),
        ('trainannot/1.png', '', 'train', 'label'),
        ('train2017/1.jpg', '', 'train', None),
        ('train_images/1.jpg', '', 'train', 'image'),
        ('valid/1.jpg', '', 'val', None),
        ('annotations/validation/1.png', '', 'val', 'label'),
        ('training/street/1.jpg', 'street', 'train', None),
        ('trains/1.jpg', 'trains', None, None),
        ('VOC2012/SegmentationObject/1.png', 'VOC2012', None, 'other'),
        ('1.jpg', '', None, None),
    ],
)
def test_folders(path: str, folder: str, split: str | None, role: str | None) -> None:
    place = place_of(Path('/data', path), Path('/data'))
    assert (place.folder, place.split, place.role) == (folder, split, role)


@pytest.mark.parametrize(
    'image, label',
    [
        ('img_001', 'img_001_mask'),
        ('0001TP_006690', '0001TP_006690_L'),
        ('123_sat', '123_mask'),
        ('aachen_000_leftImg8bit', 'aachen_000_gtFine_labelIds'),
        ('image-7', 'label-7'),
        ('scan', 'scan.seg'),
        ('a_rgb', 'a_labels'),
    ],
)
def test_words_in_names(image: str, label: str) -> None:
    assert core_of(image) == core_of(label)
    assert is_label_name(label)
    assert not is_label_name(image)
