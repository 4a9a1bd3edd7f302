"""Own data: every format gives back the same labels, and faulty files are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from own_formats import (
    COLOURS,
    NAMES,
    WRITERS,
    Set,
    coloured,
    draw_set,
    index_png,
    save,
    write_colours,
)
from PIL import Image

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.own.conversion import Converted, convert_own
from mmseg_encnet.workbench.converters.own.options import Reading, Splitting
from mmseg_encnet.workbench.converters.own.problems import UnusableData


def convert(tmp_path: Path, splitting: Splitting | None = None, **reading) -> Converted:
    return convert_own(
        tmp_path / 'in', tmp_path / 'out', Reading(**{'jobs': 1, **reading}), splitting
    )


def labels_of(root: Path) -> dict[str, np.ndarray]:
    """Return the converted labels by the stem of their image."""
    return {path.stem: np.asarray(Image.open(path)) for path in root.glob('labels/**/*.png')}


def check(converted: Converted, data: Set) -> None:
    """Check labels and images against those that were written."""
    found = labels_of(converted.root)
    assert found.keys() == data.keys()
    for name, (image, label) in data.items():
        np.testing.assert_array_equal(found[name], label)
        (path,) = converted.root.glob(f'images/**/{name}{converted.suffix}')
        pixels = np.asarray(Image.open(path))
        assert pixels.shape == image.shape
        assert np.abs(pixels.astype(int) - image).mean() < 12


@pytest.mark.parametrize('name', WRITERS)
def test_round_trip(name: str, tmp_path: Path) -> None:
    data = draw_set()
    WRITERS[name](tmp_path / 'in', data)
    converted = convert(tmp_path, jobs=2)
    check(converted, data)
    if name not in ('index_png', 'palette_png'):
        assert converted.classes == list(NAMES)
    assert not list(tmp_path.glob('.*'))


@pytest.mark.parametrize('name', ['index_png', 'palette_png', 'pascal'])
def test_ignored_pixels(name: str, tmp_path: Path) -> None:
    data = draw_set(ignored=True)
    WRITERS[name](tmp_path / 'in', data)
    check(convert(tmp_path), data)


MODES = {
    '1-bit': (lambda label: label > 0, 2),
    '16-bit': (lambda label: label.astype(np.uint16), 4),
    '16-bit masks': (lambda label: np.uint16(65535) * (label > 0), 2),
    'three equal channels': (lambda label: np.dstack([label] * 3), 4),
    'masks of 0 and 255': (lambda label: np.uint8(255) * (label > 0), 2),
    'masks of 0 and 1': (lambda label: (label > 0).astype(np.uint8), 2),
    'grey levels': (lambda label: (label // 2 * 255 + label % 2 * 128).clip(0, 255), 3),
    'RGBA': (lambda label: np.dstack([COLOURS[label], np.full(label.shape, 255, np.uint8)]), 4),
}


@pytest.mark.parametrize('mode', MODES)
def test_modes_of_label_files(mode: str, tmp_path: Path) -> None:
    change, num_classes = MODES[mode]
    data = draw_set()
    if mode == 'grey levels':
        data = {name: (image, np.minimum(label, 2)) for name, (image, label) in data.items()}
    for name, (image, label) in data.items():
        save(tmp_path / f'in/{name}.jpg', image)
        pixels = np.asarray(change(label))
        save(
            tmp_path / f'in/{name}.png',
            pixels.astype(np.uint8) if mode == 'grey levels' else pixels,
        )
    converted = convert(tmp_path)
    assert len(converted.classes) == num_classes
    # Colours are numbered by their values.
    order = np.argsort(COLOURS.astype(int) @ [65536, 256, 1]).argsort()
    for name, label in labels_of(converted.root).items():
        expected = np.minimum(data[name][1], num_classes - 1)
        np.testing.assert_array_equal(label, order[expected] if mode == 'RGBA' else expected)


def test_transparent_pixels_are_background(tmp_path: Path) -> None:
    data = draw_set()
    for name, (image, label) in data.items():
        save(tmp_path / f'in/images/{name}.jpg', image)
        pixels = np.dstack([COLOURS[label], np.uint8(255) * (label > 0)])
        save(tmp_path / f'in/labels/{name}.png', pixels)
    converted = convert(tmp_path)
    assert 'background' in converted.classes and len(converted.classes) == 4


def test_palettes_that_differ_give_colours(tmp_path: Path) -> None:
    data = draw_set()
    for index, (name, (image, label)) in enumerate(data.items()):
        save(tmp_path / f'in/images/{name}.jpg', image)
        order = np.roll(np.arange(4), index)
        save(
            tmp_path / f'in/labels/{name}.png',
            order.argsort()[label].astype(np.uint8),
            COLOURS[order],
        )
    write_colours(tmp_path / 'colours.csv')
    converted = convert(tmp_path, table=tmp_path / 'colours.csv')
    check(converted, data)
    assert any('palettes' in note for note in converted.summary.notes)


def test_unknown_colours_are_named_or_ignored_on_request(tmp_path: Path) -> None:
    data = draw_set()
    coloured(tmp_path / 'in', data)
    write_colours(tmp_path / 'three.csv', 3)
    with pytest.raises(UnusableData) as refused:
        convert(tmp_path, table=tmp_path / 'three.csv')
    assert len(refused.value.problems) == 5
    for problem in refused.value.problems:
        assert '_L.png: contains the unknown colour #808000 (' in str(problem)
    assert not (tmp_path / 'out').exists()
    converted = convert(tmp_path, table=tmp_path / 'three.csv', ignore_unknown=True)
    for name, label in labels_of(converted.root).items():
        expected = data[name][1]
        np.testing.assert_array_equal(label, np.where(expected == 3, 255, expected))


def test_colours_that_are_nearly_one(tmp_path: Path) -> None:
    data = draw_set()
    coloured(tmp_path / 'in', data)
    (tmp_path / 'in/label_colors.txt').unlink()
    path = tmp_path / 'in/LabeledApproved/img_002_L.png'
    pixels = np.array(Image.open(path))
    pixels[10, 10] = (3, 128, 0)
    save(path, pixels)
    converted = convert(tmp_path)
    assert len(converted.classes) == 5
    (note,) = converted.summary.notes
    assert '#008000' in note and '#038000 (1 pixel' in note and 'img_002_L.png' in note
    (tmp_path / 'out').rename(tmp_path / 'first')
    assert len(convert(tmp_path, tolerance=3).classes) == 4


def test_labels_saved_as_jpeg(tmp_path: Path) -> None:
    data = draw_set()
    for name, (image, label) in data.items():
        big = label.repeat(8, 0).repeat(8, 1)
        save(tmp_path / f'in/images/{name}.jpg', image.repeat(8, 0).repeat(8, 1))
        save(tmp_path / f'in/labels/{name}.jpg', COLOURS[big], quality=75)
    with pytest.raises(UserError, match=r'colours, most of them only at edges.*--tolerance N'):
        convert(tmp_path)
    converted = convert(tmp_path, tolerance=128)
    assert len(converted.classes) == 4
    colours = np.array(converted.palette)
    assert np.abs(colours[:, None] - COLOURS.astype(int)).max(axis=2).min(axis=1).max() <= 4
    for name, label in labels_of(converted.root).items():
        expected = COLOURS[data[name][1]].astype(int).repeat(8, 0).repeat(8, 1)
        assert (np.abs(colours[label] - expected).max(axis=2) < 20).mean() > 0.98


def empty(path: Path) -> None:
    path.write_bytes(b'')


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def shrink(path: Path) -> None:
    save(path, np.zeros((5, 4), np.uint8))


@pytest.mark.parametrize(
    'spoil, message',
    [
        (empty, 'cannot be read'),
        (truncate, 'cannot be read'),
        (shrink, r'its label has 4 x 5 pixels, expected 44 x 32'),
        (lambda path: path.rename(path.with_stem('stray')), 'no image has the name'),
    ],
)
def test_faulty_labels_are_named(spoil, message: str, tmp_path: Path) -> None:
    data = draw_set()
    index_png(tmp_path / 'in', data)
    for name in ('img_001', 'img_003'):
        path = tmp_path / f'in/labels/{name}.png'
        if 'stray' in [file.stem for file in path.parent.iterdir()]:
            continue
        spoil(path)
    with pytest.raises(UserError, match=message) as refused:
        convert(tmp_path)
    assert 'img_001' in str(refused.value) or 'stray' in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ['in']


def test_images_without_labels(tmp_path: Path) -> None:
    index_png(tmp_path / 'in', draw_set())
    (tmp_path / 'in/labels/img_001.png').unlink()
    with pytest.raises(UserError, match=r'1 of 5 images have no label, such as .*img_001'):
        convert(tmp_path)
    converted = convert(tmp_path, skip_unlabelled=True)
    assert sum(converted.summary.counts.values()) == 4


@pytest.mark.parametrize(
    'name, change, message',
    [
        ('coco', lambda c: c['images'].pop(), 'is for image 5, which is missing'),
        ('coco', lambda c: c['images'][0].update(file_name='gone.jpg'), 'lists the image gone.jpg'),
        ('coco', lambda c: c['categories'].pop(), 'has the unknown category 20'),
        ('coco', lambda c: c['annotations'][1].update(segmentation=[]), 'without polygon or run'),
        ('coco', lambda c: c['annotations'][0]['segmentation'].update(size=[1, 2]), 'invalid mask'),
        ('labelme', lambda c: c.pop('imageHeight'), 'gives the size of its image as'),
        ('labelme', lambda c: c['shapes'][0].update(points=[[1, 1]]), 'a polygon has 1 points'),
        ('labelme', lambda c: c['shapes'][0].update(shape_type='heart'), "unknown type 'heart'"),
        ('labelme', lambda c: c['shapes'][0].update(label='roof'), "the unknown class 'roof'"),
    ],
)
def test_faulty_annotation_files_are_named(name, change, message, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / 'in', draw_set())
    path = next((tmp_path / 'in').rglob('*.json'))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UnusableData, match=message) as refused:
        convert(tmp_path)
    assert str(path) in str(refused.value)
    path.write_text(json.dumps(content)[:-9])
    with pytest.raises(UserError, match='is not a complete JSON file'):
        convert(tmp_path)
    assert not (tmp_path / 'out').exists()


def test_a_damaged_cvat_file_is_named(tmp_path: Path) -> None:
    WRITERS['cvat_xml'](tmp_path / 'in', draw_set())
    path = tmp_path / 'in/annotations.xml'
    text = path.read_text()
    path.write_text(text.replace('label="door"', 'label="gate"', 1))
    path.write_text(text.replace('rle="', 'rle="7, '))
    with pytest.raises(UnusableData, match=r'contains an invalid mask of .door.'):
        convert(tmp_path)
    path.write_text(text[:-9])
    with pytest.raises(UserError, match='is not a complete XML file'):
        convert(tmp_path)


@pytest.mark.parametrize('orientation, upright', [(6, True), (6, False), (8, True), (3, None)])
def test_orientation_of_photographs(orientation: int, upright, tmp_path: Path) -> None:
    data = draw_set()
    index_png(tmp_path / 'in', data)
    turns = {3: 2, 6: 1, 8: 3}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    name = 'img_000'
    image, label = data[name]
    # The stored pixels are turned back by the orientation.
    save(tmp_path / f'in/images/{name}.jpg', np.rot90(image, turns), exif=exif)
    if upright is False:
        save(tmp_path / f'in/labels/{name}.png', np.rot90(label, turns))
    if upright is None:
        with pytest.raises(UnusableData, match='--orientation upright or stored'):
            convert(tmp_path)
        check(convert(tmp_path, orientation='upright'), data)
        return
    converted = convert(tmp_path)
    if upright:
        check(converted, data)
    (path,) = converted.root.glob(f'images/**/{name}.jpg')
    with Image.open(path) as file:
        assert file.getexif().get(0x0112, 1) == 1
        (target,) = converted.root.glob(f'labels/**/{name}.png')
        assert file.size == Image.open(target).size


def test_background_and_ignored_classes(tmp_path: Path) -> None:
    data = draw_set()
    WRITERS['labelme'](tmp_path / 'in', data)
    converted = convert(tmp_path, background='ignore', ignore=['Door'])
    assert converted.classes == ['wall', 'window']
    for name, label in labels_of(converted.root).items():
        expected = np.array([255, 0, 1, 255])[data[name][1]]
        np.testing.assert_array_equal(label, expected)
    with pytest.raises(UserError, match=r"cannot ignore 'roof', which is not a class; choose from"):
        convert_own(tmp_path / 'in', tmp_path / 'other', Reading(ignore=['roof'], jobs=1))


@pytest.mark.parametrize('name', ['coco', 'masks_by_class'])
def test_a_class_to_ignore(name: str, tmp_path: Path) -> None:
    data = draw_set()
    WRITERS[name](tmp_path / 'in', data)
    if name == 'coco':
        path = tmp_path / 'in/annotations/instances_val2017.json'
        path.write_text(path.read_text().replace(f'"{NAMES[3]}"', '"__ignore__"'))
    else:
        path = tmp_path / 'in/classes.txt'
        path.write_text(path.read_text().replace(NAMES[3], '__ignore__'))
        (tmp_path / f'in/masks/{NAMES[3]}').rename(tmp_path / 'in/masks/__ignore__')
    converted = convert(tmp_path)
    assert converted.classes == list(NAMES[:3])
    for stem, label in labels_of(converted.root).items():
        expected = np.array([0, 1, 2, 255])[data[stem][1]]
        np.testing.assert_array_equal(label, expected)


def test_values_from_one_and_zero_for_other_classes(tmp_path: Path) -> None:
    """ADE20K numbers its classes from 1; 0 is everything else."""
    data = draw_set()
    for name, (image, label) in data.items():
        save(tmp_path / f'in/images/training/{name}.jpg', image)
        save(tmp_path / f'in/annotations/training/{name}.png', label)
    (tmp_path / 'in/objectInfo150.txt').write_text(
        'Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.1\t1\t1\t1\twall\n'
        '2\t0.1\t1\t1\t0\twindow, pane\n3\t0.1\t1\t1\t0\tdoor\n'
    )
    with pytest.raises(UnusableData, match='contains the unknown value 0'):
        convert(tmp_path)
    converted = convert(tmp_path, ignore_unknown=True)
    assert converted.classes == ['wall', 'window, pane', 'door']
    for name, label in labels_of(converted.root).items():
        np.testing.assert_array_equal(label, np.array([255, 0, 1, 2])[data[name][1]])


def test_patterns(tmp_path: Path) -> None:
    data = draw_set()
    for name, (image, label) in data.items():
        save(tmp_path / f'in/a/{name}_photo1.tif', image)
        save(tmp_path / f'in/b/c/{name}-classes.bmp', label)
        save(tmp_path / f'in/b/c/{name}-preview.png', COLOURS[label])
    with pytest.raises(UserError, match=r'cannot find|has the name of an image'):
        convert(tmp_path)
    converted = convert(tmp_path, pattern='{name}_photo1.tif={name}-classes.bmp')
    assert converted.suffix == '.tif'
    found = labels_of(converted.root)
    for name, (_, label) in data.items():
        np.testing.assert_array_equal(found[f'{name}_photo1'], label)


def test_several_formats_and_none(tmp_path: Path) -> None:
    data = draw_set()
    WRITERS['labelme'](tmp_path / 'in', data)
    WRITERS['cvat_xml'](tmp_path / 'in', data)
    with pytest.raises(UserError, match=r'several formats, cvat \(.*labelme \(.*--format'):
        convert(tmp_path)
    check(convert(tmp_path, format='cvat'), data)
    with pytest.raises(UserError, match='contains no annotation file of the format coco'):
        convert_own(tmp_path / 'in', tmp_path / 'other', Reading(format='coco', jobs=1))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='contains no images'):
        convert_own(tmp_path / 'empty', tmp_path / 'other')
    with pytest.raises(UserError, match='does not exist'):
        convert_own(tmp_path / 'missing', tmp_path / 'other')
    with pytest.raises(UserError, match='is not empty'):
        convert_own(tmp_path / 'in', tmp_path / 'in')


def test_images_of_several_formats_become_png(tmp_path: Path) -> None:
    data = draw_set()
    index_png(tmp_path / 'in', data)
    path = tmp_path / 'in/images/img_000.jpg'
    Image.open(path).save(path.with_suffix('.BMP'))
    path.unlink()
    converted = convert(tmp_path)
    assert converted.suffix == '.png'
    check(converted, data)


def test_images_are_linked_or_copied(tmp_path: Path) -> None:
    index_png(tmp_path / 'in', draw_set())
    source = (tmp_path / 'in/images/img_000.jpg').stat()
    for copy in (False, True):
        out = tmp_path / f'out {copy}'
        convert_own(tmp_path / 'in', out, Reading(jobs=1), copy=copy)
        (path,) = out.glob('images/**/img_000.jpg')
        assert (path.stat().st_ino == source.st_ino) != copy


def test_renaming_classes_through_the_written_table(tmp_path: Path) -> None:
    data = draw_set()
    for name, (image, label) in data.items():
        save(tmp_path / f'in/images/{name}.jpg', image)
        save(tmp_path / f'in/labels/{name}.png', label + 1)
    first = convert(tmp_path)
    table = (first.root / 'colours.csv').read_text()
    for number, name in enumerate(NAMES, 1):
        table = table.replace(f'class {number}', name)
    (tmp_path / 'named.csv').write_text(table)
    again = convert_own(
        tmp_path / 'in', tmp_path / 'again', Reading(table=tmp_path / 'named.csv', jobs=1)
    )
    assert again.classes == list(NAMES)
    assert again.palette == first.palette
    check(again, data)


def test_values_that_are_no_indices(tmp_path: Path) -> None:
    for name, (image, label) in draw_set().items():
        save(tmp_path / f'in/images/{name}.jpg', image)
        noise = np.arange(label.size).reshape(label.shape) % 3
        save(
            tmp_path / f'in/labels/{name}.png', np.where(label, 255 - noise, noise).astype(np.uint8)
        )
        save(tmp_path / f'high/images/{name}.jpg', image)
        save(tmp_path / f'high/labels/{name}.png', label.astype(np.uint16) * 1000)
    with pytest.raises(UserError, match=r'6 values, 0, 1, 2 to 255, too scattered'):
        convert(tmp_path)
    assert convert(tmp_path, format='masks', tolerance=127).classes == ['background', 'object']
    converted = convert_own(tmp_path / 'high', tmp_path / 'high out', Reading(jobs=1))
    assert converted.classes == ['value 0', 'value 1000', 'value 2000', 'value 3000']


def test_instances_of_one_class(tmp_path: Path) -> None:
    data = draw_set()
    for index, (name, (image, label)) in enumerate(data.items()):
        save(tmp_path / f'in/{name}/images/{name}.png', image)
        for value in (1, 2, 3):
            save(
                tmp_path / f'in/{name}/masks/{index}{value}a.png', np.uint8(255) * (label == value)
            )
    converted = convert(tmp_path)
    assert converted.classes == ['background', 'object']
    for name, label in labels_of(converted.root).items():
        np.testing.assert_array_equal(label, data[name][1] > 0)
