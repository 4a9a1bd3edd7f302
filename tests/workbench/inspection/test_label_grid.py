"""The figure of images beside labels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmseg_encnet.workbench.inspection.label_grid import draw_label_grid, paint_label
from mmseg_encnet.workbench.inspection.split import LabelledImage

PALETTE = [[90, 170, 250], [0, 0, 0], [200, 40, 40], [255, 255, 255]]


def test_ignored_pixels_look_like_no_class():
    label = np.zeros((96, 128), np.int64)
    label[:, 32:64] = 1
    label[:, 64:] = 255
    label[:, 120:] = 4
    painted = paint_label(label, PALETTE)
    assert (painted[:, :32] == PALETTE[0]).all()
    assert (painted[:, 32:64] == PALETTE[1]).all()
    ignored = painted[:, 64:].reshape(-1, 3)
    shades = np.unique(ignored, axis=0)
    assert len(shades) == 2
    # Each of the two shades of the stripes covers about half.
    assert 0.4 < (ignored == shades[0]).all(axis=-1).mean() < 0.6


def sample(height: int, width: int, classes: list[int]) -> LabelledImage:
    bounds = np.linspace(0, width, len(classes) + 1).astype(int)
    label = np.zeros((height, width), np.int64)
    for value, start, end in zip(classes, bounds, bounds[1:]):
        label[:, start:end] = value
    rng = np.random.default_rng(height)
    return LabelledImage(
        'a photograph with a name that is longer than what fits above it ' * 3 + '.jpg',
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        label,
    )


def colours_of_150() -> list[list[int]]:
    return np.random.default_rng(0).integers(0, 256, (150, 3)).tolist()


@pytest.mark.parametrize(
    'samples, shown',
    [
        ([sample(48, 64, [0, 3, 255])], [0, 3]),
        ([sample(64, 48, [7]), sample(30, 90, [120, 149]), sample(48, 48, [255])], [7, 120, 149]),
        (
            [sample(48, 64, list(range(start, start + 30))) for start in range(0, 150, 30)],
            list(range(150)),
        ),
    ],
)
def test_sheet_shows_the_classes_that_occur(samples, shown, tmp_path):
    palette = colours_of_150()
    names = [f'class number {index}' for index in range(150)]
    path = tmp_path / 'new' / 'sheet.png'
    draw_label_grid(samples, names, palette, 'title', path)
    picture = np.array(Image.open(path).convert('RGB'))
    counts = dict(zip(*np.unique(picture.reshape(-1, 3) @ [65536, 256, 1], return_counts=True)))
    for index, rgb in enumerate(palette):
        # As large as a stripe of a label and a legend entry; edges of letters have any colour.
        area = counts.get(int(np.dot(rgb, [65536, 256, 1])), 0)
        assert (area > 600) == (index in shown), index
    # White edges: nothing is cut off.
    for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        assert (edge == 255).all()
