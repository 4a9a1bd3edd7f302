"""Labels read without their images, and class names that a data set does not have."""

from __future__ import annotations

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

from mmseg_encnet.datasets.checked import build_checked_dataset, too_dark
from mmseg_encnet.datasets.occurrence import find_occurrence
from mmseg_encnet.errors import UserError


def dataset_cfg(root, loader: dict, **options) -> dict:
    init_default_scope('mmseg')
    return dict(
        dict(
            type='BaseSegDataset',
            data_root=str(root),
            data_prefix=dict(img_path='', seg_map_path='labels'),
            metainfo=dict(classes=('a', 'b'), palette=[[0, 0, 0], [1, 1, 1]]),
            pipeline=[
                dict(dict(type='LoadImageFromFile'), **loader),
                dict(type='LoadAnnotations'),
                dict(type='PackSegInputs'),
            ],
        ),
        **options,
    )


def draw(root, orientation: int, label_size: tuple[int, int], suffix: str = '.jpg') -> None:
    """Draw an image of 30x40 stored pixels, and its label."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new('RGB', (40, 30)).save(root / f'a{suffix}', exif=exif)
    (root / 'labels').mkdir()
    Image.fromarray(np.zeros(label_size, np.uint8)).save(root / 'labels' / 'a.png')


IGNORING = dict(color_type='color_ignore_orientation')
PILLOW = dict(imdecode_backend='pillow')
# EXIF orientation, loader, size of the label, and whether it fits.
SIZES = [
    (1, {}, (30, 40), True),
    (1, {}, (29, 40), False),
    (1, {}, (40, 30), False),
    (6, {}, (40, 30), True),
    (6, {}, (30, 40), False),
    (6, PILLOW, (40, 30), True),
    (6, IGNORING, (30, 40), True),
    (6, IGNORING, (40, 30), False),
    (6, dict(color_type='unchanged'), (30, 40), True),
    (3, dict(color_type='color'), (30, 40), True),
]


@pytest.mark.parametrize('orientation, loader, size, fits', SIZES)
def test_the_size_of_a_label_is_that_of_the_header(orientation, loader, size, fits, tmp_path):
    draw(tmp_path, orientation, size)
    dataset = build_checked_dataset(dataset_cfg(tmp_path, loader))
    if fits:
        # The header says what the loader does.
        assert dataset[0]['data_samples'].ori_shape == size
        assert find_occurrence(dataset).read == 1
        return
    for read in (find_occurrence, lambda dataset: dataset[0]):
        with pytest.raises(UserError, match=rf'a\.png has size {size[0]}x{size[1]} '):
            read(dataset)


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.webp', '.bmp'])
def test_other_formats(suffix, tmp_path):
    draw(tmp_path, 1, (30, 41), suffix)
    dataset = build_checked_dataset(dataset_cfg(tmp_path, {}, img_suffix=suffix))
    with pytest.raises(UserError, match='expected 30x40 as its image'):
        find_occurrence(dataset)


@pytest.mark.parametrize(
    'metainfo, words',
    [
        (
            dict(classes=('sky', 'cat', 'unicorn')),
            "got metainfo.classes of MSRC21Dataset with 'unicorn', expected some of its classes "
            "('building', 'grass', 'tree', 'cow', 'sheep' and 16 more)",
        ),
        (dict(classes=('sky', 'cat'), palette=[[0, 0, 0]]), 'palette'),
    ],
    ids=['name', 'palette'],
)
def test_class_names_of_another_data_set(metainfo, words, tmp_path):
    draw(tmp_path, 1, (30, 40))
    options = dict(type='MSRC21Dataset', metainfo=metainfo)
    with pytest.raises(UserError) as refused:
        build_checked_dataset(dataset_cfg(tmp_path, {}, **options))
    assert words in str(refused.value)


def test_dark_arrays_are_no_images_of_16_bits(tmp_path):
    pixels = np.full((30, 40, 3), 9, np.uint8)
    np.save(tmp_path / 'a.npy', pixels)
    assert too_dark(str(tmp_path / 'a.npy'), pixels) is None
