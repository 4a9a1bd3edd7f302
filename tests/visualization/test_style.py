"""The helpers of the figure style."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

from mmseg_encnet.visualization import style
from mmseg_encnet.visualization.region_numbers import number_regions


@pytest.mark.parametrize(
    'share, text',
    [
        (0, '0 %'),
        (1e-7, '<0.001 %'),
        (0.000123, '0.012 %'),
        (0.02, '2.0 %'),
        (0.1, '10.0 %'),
        (1, '100.0 %'),
    ],
)
def test_percent(share, text):
    assert style.percent(share) == text


@pytest.mark.parametrize('width', [0.3, 1, 2])
def test_shortened_text_fits(width):
    text = style.shortened('W' * 40, width)
    assert style.text_width(text) <= width
    assert text.endswith('…')
    assert style.shortened('sky', width) == 'sky'


def chart() -> bytes:
    figure = style.new_figure(3, 2)
    axes = figure.subplots()
    axes.plot([0, 1], color=style.BLUE)
    style.format_axes(axes, grid='both')
    style.add_title(figure, 'title', 'note')
    return style.svg(figure)


def test_equal_figures_are_equal_files_and_rc_params_stay():
    before = dict(matplotlib.rcParams)
    assert chart() == chart()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize('scale', [1, 20])
def test_numbers_stand_in_the_largest_regions(scale):
    labels = np.full((40, 60), 255)
    labels[:, :20] = 0
    labels[:, 25:45] = 1
    labels[5, 50] = 2
    labels = labels.repeat(scale, axis=0).repeat(scale, axis=1)
    axes = style.new_figure(3, 2).subplots()
    number_regions(axes, labels, np.array([[0, 0, 0], [255, 255, 255], [9, 9, 9]]))
    numbers = {text.get_text(): text for text in axes.texts}
    assert {name: text.get_color() for name, text in numbers.items()} == {
        '0': 'white',
        '1': 'black',
    }
    for name, text in numbers.items():
        x, y = (int(place) for place in text.get_position())
        assert labels[y, x] == int(name)
