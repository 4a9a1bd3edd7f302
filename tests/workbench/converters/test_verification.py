"""Verification of a converted data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from publisher_files import jpeg, png

from mmseg_encnet.errors import UserError
from mmseg_encnet.workbench.converters.verification import table, verify

CONFIGS = {'encnet_r50_pcontext': (2, 9), 'encnet_r50_pcontext60': (2, 9)}
LABELS = {
    'a': np.repeat(np.array([0, 1, 59], np.uint8), 200).reshape(20, 30),
    'b': np.full((30, 20), 255, np.uint8),
    'c': np.full((20, 30), 2, np.uint8),
}


@pytest.fixture
def root(tmp_path) -> Path:
    """Write images in the layout of Pascal Context: a and b for training, c for validation."""
    for folder in ('JPEGImages', 'SegmentationClassContext', 'ImageSets/SegmentationContext'):
        (tmp_path / folder).mkdir(parents=True)
    for name, label in LABELS.items():
        (tmp_path / f'JPEGImages/{name}.jpg').write_bytes(jpeg(*label.shape))
        (tmp_path / f'SegmentationClassContext/{name}.png').write_bytes(png(label))
    (tmp_path / 'ImageSets/SegmentationContext/train.txt').write_text('a\nb\n')
    (tmp_path / 'ImageSets/SegmentationContext/val.txt').write_text('c\n')
    return tmp_path


@pytest.mark.parametrize('jobs', [1, 2])
def test_counts(root, jobs):
    counts = verify(CONFIGS, root, jobs)
    assert [count.published for count in counts] == [2, 9, 2, 9]
    counts = {(count.config, count.split): count.statistics for count in counts}
    # With 59 classes the background is ignored; with 60 it is the first class.
    train = counts['encnet_r50_pcontext', 'train']
    assert (train.images, train.ignored_pixels) == (2, 200 + 600)
    assert train.classes[0] == 'aeroplane' and len(train.classes) == len(train.pixels) == 59
    assert train.pixels[[0, 1, 58]].tolist() == [200, 0, 200]
    assert train.images_with[[0, 1, 58]].tolist() == [1, 0, 1]
    train = counts['encnet_r50_pcontext60', 'train']
    assert (
        train.pixels[[0, 1, 2, 59]].tolist() == [200, 200, 0, 200] and train.ignored_pixels == 600
    )
    val = counts['encnet_r50_pcontext60', 'val']
    assert (val.images, val.ignored_pixels) == (1, 0)
    assert np.flatnonzero(val.pixels).tolist() == [2] and val.images_with.sum() == 1


def test_table(root):
    lines = [line.split() for line in table(verify(CONFIGS, root, 1)).splitlines()]
    assert ['encnet_r50_pcontext', 'train', '2', '2', '2'] in lines
    assert ['encnet_r50_pcontext60', 'val', '1', '1', '9', 'differs'] in lines
    assert ['0', 'aeroplane', '16.667%', '1', '0.000%', '0'] in lines
    assert ['1', 'bag', '0.000%', '0', '100.000%', '1'] in lines
    assert ['ignored', '66.667%', '0.000%'] in lines
    assert len(lines) < 70


@pytest.mark.parametrize(
    'path, content, sentence',
    [
        ('JPEGImages/a.jpg', None, r'a\.jpg is missing'),
        ('JPEGImages/a.jpg', b'', r'a\.jpg is damaged'),
        (
            'JPEGImages/a.jpg',
            jpeg(30, 20),
            r'a\.png has 30 x 20 pixels, expected 20 x 30 as in its image',
        ),
        ('SegmentationClassContext/c.png', None, r'c\.png is missing'),
        ('SegmentationClassContext/c.png', png(LABELS['c'])[:40], r'c\.png is damaged'),
        (
            'SegmentationClassContext/c.png',
            png(LABELS['c'] + 58),
            r'c\.png contains the value 60, expected 0 to 59 or 255',
        ),
        ('ImageSets/SegmentationContext/val.txt', b'', 'no image for the val split'),
        ('ImageSets/SegmentationContext/val.txt', None, r'val\.txt of the val split is missing'),
        ('ImageSets/SegmentationContext/train.txt', b'a\nb\nd\n', r'd\.jpg is missing'),
    ],
    ids=lambda value: value if isinstance(value, str) else 'content',
)
def test_what_is_wrong_is_said(root, path, content, sentence):
    if content is None:
        (root / path).unlink()
    else:
        (root / path).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        verify({'encnet_r50_pcontext60': (2, 1)}, root, 1)
