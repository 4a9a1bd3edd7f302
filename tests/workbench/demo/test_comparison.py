"""The figure of predictions beside image and ground truth."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmseg_encnet.workbench.demo.comparison import ComparedImage, colour, draw_comparison

CLASSES = ['sky', 'sand', 'earth', 'sea', 'grass', 'building', 'skyscraper', 'street']
PALETTE = [
    [90, 170, 250],
    [240, 220, 150],
    [140, 90, 40],
    [20, 60, 200],
    [40, 160, 60],
    [200, 40, 40],
    [120, 0, 160],
    [128, 128, 128],
]


def scene(height: int, width: int, models: list[str]) -> ComparedImage:
    truth = np.zeros((height, width), np.int64)
    truth[height // 2 :] = 7
    truth[:, : width // 4] = 255
    wrong = truth.copy()
    wrong[: height // 2] = 3
    image = colour(truth, PALETTE) // 2 + 60
    return ComparedImage(image, truth, dict.fromkeys(models, wrong))


def has_colour(picture: np.ndarray, rgb: list[int]) -> bool:
    # As large an area as a map or a legend entry; the edges of letters have any grey.
    return (picture == rgb).all(axis=-1).sum() > 200


def test_colour_paints_classes_and_blackens_the_rest():
    labels = np.array([[0, 7], [255, -1]])
    assert colour(labels, PALETTE).tolist() == [[PALETTE[0], PALETTE[7]], [[0] * 3, [0] * 3]]


@pytest.mark.parametrize(
    'sizes, models, num_classes',
    [
        ([(60, 80)] * 3, ['FCN', 'EncNet'], 8),
        ([(80, 60)], ['EncNet'], 3),
        ([(40, 120), (120, 40)], ['FCN', 'EncNet'], 8),
    ],
)
def test_figure_shows_every_map(sizes, models, num_classes, tmp_path):
    rows = [scene(*size, models) for size in sizes]
    path = tmp_path / 'new' / 'sheet.png'
    draw_comparison(rows, CLASSES[:num_classes], PALETTE[:num_classes], path)
    picture = np.array(Image.open(path).convert('RGB'))
    assert picture.shape[1] > 300 * (2 + len(models))
    assert has_colour(picture, PALETTE[0])
    assert has_colour(picture, [0, 0, 0])
    assert has_colour(picture, [255, 255, 255])
    assert has_colour(picture, PALETTE[7]) == (num_classes == 8)
    # White edges: nothing is cut off.
    for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        assert (edge == 255).all()
