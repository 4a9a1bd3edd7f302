"""Likely mistakes in labels and EXIF orientations, found before the first iteration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image
from tiny_setup import ROOT, SHRUNK, draw_photographs

from mmseg_encnet.datasets.checked import build_checked_dataset
from mmseg_encnet.datasets.occurrence import find_occurrence

BINARY = ROOT / 'configs' / 'encnet_r18_binary.py'
LABELS = {
    'both': lambda label: label,
    '0/255': lambda label: np.where(label == 1, 255, label),
    'background': lambda label: np.zeros_like(label),
    'object': lambda label: np.where(label == 0, 1, label),
    'nothing': lambda label: np.full_like(label, 255),
}


def paint(folder: Path, kind: str) -> None:
    for index, path in enumerate(sorted(folder.iterdir())):
        label = np.zeros(Image.open(path).size[::-1], np.uint8)
        label[10:30, 10:30] = 1
        # Not in the first label.
        Image.fromarray(LABELS[kind](label) if index or kind == 'both' else label * 0).save(path)


@pytest.fixture
def options(tmp_path) -> dict:
    draw_photographs(tmp_path / 'data', 'train', 4, num_classes=2)
    draw_photographs(tmp_path / 'data', 'val', 2, num_classes=2)
    for split in ('train', 'val'):
        paint(tmp_path / 'data' / 'labels' / split, 'both')
    shrunk = dict(SHRUNK, data_root=str(tmp_path / 'data'))
    del shrunk['train_dataloader.dataset.pipeline.RandomResize.scale']
    return shrunk | {
        'train_dataloader.dataset.pipeline.RandomShortSideResize.base_size': 64,
        'model.test_cfg.crop_size': (48, 48),
        'model.test_cfg.stride': (32, 32),
    }


def warnings(text: str) -> list[str]:
    return [line for line in text.splitlines() if 'occur' in line]


@pytest.mark.parametrize(
    ('split', 'kind', 'named', 'hint'),
    [
        ('train', '0/255', "Class 'object' occurs in none of the 4 training labels", True),
        ('train', 'background', "Class 'object' occurs in none of the 4 training", False),
        ('val', '0/255', "Class 'object' occurs in none of the 2 validation labels", True),
        ('train', 'both', None, False),
    ],
)
def test_a_class_without_a_label_is_named(split, kind, named, hint, options, run_tool, tmp_path):
    paint(tmp_path / 'data' / 'labels' / split, kind)
    result = run_tool('train', BINARY, '--work-dir', 'work', options=options)
    assert result.status == 0
    said = warnings(result.out + result.err)
    assert len(said) == (named is not None)
    if named:
        assert named in said[0]
        assert ('label 255 is ignored: if it means a class' in said[0]) == hint
        before = (result.out + result.err).index(named)
        assert before < (result.out + result.err).index('decode.loss_ce')

    name = {'train': 'train', 'val': 'val'}[split]
    result = run_tool(
        'analysis_tools/dataset_stats', BINARY, '--split', name, '--jobs', 1, options=options
    )
    assert ("class 'object' occurs in none" in result.err) == (named is not None)


@pytest.mark.parametrize(
    ('kind', 'reduces', 'words'),
    [
        ('background', True, 'reduce_zero_label=True of BaseSegDataset at .* removes label 0, the'),
        ('0/255', True, 'set reduce_zero_label=False'),
        ('both', True, None),
    ],
)
def test_a_reduced_label_that_was_the_only_class(kind, reduces, words, options, run_tool, tmp_path):
    for split in ('train', 'val'):
        paint(tmp_path / 'data' / 'labels' / split, kind)
    for loader in ('train', 'val', 'test'):
        options[f'{loader}_dataloader.dataset.reduce_zero_label'] = reduces
    result = run_tool('train', BINARY, '--work-dir', 'work', options=options)
    if words:
        assert result.status == 2
        assert words.partition(' .* ')[0] in result.sentence
    else:
        assert "Class 'object' occurs in none" in result.out + result.err
        assert 'reduce_zero_label=True ignores label 0' in result.out + result.err


def dataset(root: Path, **kwargs):
    init_default_scope('mmseg')
    return build_checked_dataset(
        dict(
            type='BaseSegDataset',
            data_root=str(root),
            metainfo=dict(classes=('background', 'object')),
            data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')],
            **kwargs,
        )
    )


def test_reading_ends_with_the_last_class_or_at_the_limit(tmp_path):
    root = tmp_path / 'data'
    for kind in ('images', 'labels'):
        (root / kind / 'train').mkdir(parents=True)
    for index in range(60):
        Image.new('RGB', (8, 8)).save(root / 'images' / 'train' / f'{index:02}.jpg')
        Image.new('L', (8, 8), 0).save(root / 'labels' / 'train' / f'{index:02}.png')
    found = find_occurrence(dataset(root))
    assert (found.occurs.tolist(), found.read, found.labels) == ([True, False], 60, 60)
    found = find_occurrence(dataset(root), limit=20)
    assert (found.read, found.labels) == (20, 60)
    assert 'none of the 20 training labels that were read, of 60' in found.absent('training')
    for path in (root / 'labels' / 'train').iterdir():
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(path)
    found = find_occurrence(dataset(root))
    assert found.read == 1 and found.absent('training') is None


def turn(path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(path) as image:
        image.load()
        image.save(path, exif=exif)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('color_type', [None, 'color', 'color_ignore_orientation'])
def test_orientation_of_labelled_images(orientation, color_type, options, tmp_path):
    """Unclear orientations are refused, stated ones followed."""
    from mmseg_encnet.errors import UserError

    root = tmp_path / 'data'
    path = root / 'images' / 'train' / '2.jpg'
    stored = np.array(Image.open(path))
    turn(path, orientation)
    loader = dict(type='LoadImageFromFile')
    if color_type:
        loader['color_type'] = color_type
    init_default_scope('mmseg')
    data = build_checked_dataset(
        dict(
            type='BaseSegDataset',
            data_root=str(root),
            metainfo=dict(classes=('background', 'object')),
            data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
            pipeline=[loader, dict(type='LoadAnnotations')],
        )
    )
    if orientation > 4 and color_type != 'color_ignore_orientation':
        with pytest.raises(UserError, match='has the EXIF orientation'):
            data[2]
    elif orientation in (2, 3, 4) and color_type is None:
        with pytest.raises(UserError, match=f'2.jpg is .* EXIF orientation {orientation}'):
            data[2]
    else:
        shown = data[2]['img'][..., ::-1].astype(int)
        turned = color_type == 'color' and orientation > 1
        views = {2: np.fliplr, 3: lambda x: x[::-1, ::-1], 4: np.flipud}
        expected = views[orientation](stored) if turned else stored
        assert np.abs(shown - expected).mean() < 6


def test_open_orientations_stop_before_training(options, run_tool, tmp_path):
    turn(tmp_path / 'data' / 'images' / 'val' / '1.jpg', 3)
    sentence = run_tool('train', BINARY, '--work-dir', 'work', options=options).sentence
    assert '1.jpg is rotated by 180 degrees' in sentence and 'color_type' in sentence
    assert not list((tmp_path / 'work').glob('*.pth'))
