"""The context sheet of one image, for models with and without each part."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from mmseg_encnet.errors import UserError
from mmseg_encnet.visualization.context_sheet import ContextPrediction, draw_sheet
from mmseg_encnet.visualization.context_sheet.painting import (
    WRONG,
    codeword_colours,
    paint_codewords,
    paint_errors,
)
from mmseg_encnet.visualization.context_sheet.parts import sheet_parts
from mmseg_encnet.visualization.style import pixels


def regions(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    values = rng.normal(size=(count, 4, 4)).astype(np.float32)
    return np.stack([cv2.resize(value, (width, height)) for value in values])


def prediction(
    height: int = 90,
    width: int = 120,
    num_classes: int = 8,
    num_codes: int = 6,
    truth: bool = True,
    maps: bool = True,
    presence: bool = True,
    name: str = 'class {}',
    num_windows: int = 1,
) -> ContextPrediction:
    rng = np.random.default_rng(num_classes)
    scores = regions(rng, min(num_classes, 40), height, width)
    label = scores.argmax(axis=0)
    label[: height // 8] = 255
    assignments = np.exp(4 * regions(rng, num_codes, height, width))
    palette = rng.integers(0, 256, (num_classes, 3)).tolist()
    return ContextPrediction(
        np.array(palette, np.uint8)[scores.argmax(axis=0)] // 2,
        np.roll(scores.argmax(axis=0), 3, axis=1),
        [name.format(index) for index in range(num_classes)],
        palette,
        truth=label if truth else None,
        presence=rng.random(num_classes) if presence else None,
        gate=rng.random(512) if maps else None,
        channels=np.array([500, 501, 502, 503, 504, 505]) if maps else None,
        channel_maps=regions(rng, 6, height, width) if maps else None,
        assignments=assignments / assignments.sum(axis=0) if maps else None,
        num_windows=num_windows,
    )


CASES = {
    'landscape': dict(),
    'windows': dict(num_windows=12),
    'windows in a panorama': dict(height=40, width=200, truth=False, num_windows=3),
    'windows in a portrait': dict(height=160, width=110, truth=False, num_windows=3),
    'portrait': dict(height=160, width=110, num_classes=171, num_codes=64),
    'panorama': dict(height=20, width=200, num_classes=19, num_codes=32),
    'square': dict(height=100, width=100, num_classes=2, num_codes=1),
    'long names': dict(num_classes=60, name='a name as long as names get {}'),
    'long names in a portrait': dict(height=160, width=110, name='WWWWWWWWWWWWWWWWWWWWWWWW'),
    'no truth': dict(truth=False, num_codes=40),
    'no truth in a panorama': dict(height=40, width=200, truth=False),
    'no truth in a portrait': dict(height=160, width=110, truth=False),
    'no SE branch': dict(presence=False),
    'no maps': dict(maps=False),
    'stock head': dict(maps=False, presence=False),
    'stock head without truth': dict(maps=False, presence=False, truth=False),
}


def assert_legible(figure: Figure) -> None:
    """Assert that nothing is cut off at the edges of the figure and that no texts overlap."""
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    drawn = figure.get_tightbbox()
    assert drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= width and drawn.y1 <= height
    texts = [
        text
        for text in figure.findobj(Text)
        if text.get_text()
        and text.get_visible()
        and not any(text in axes.texts and text.get_path_effects() for axes in figure.axes)
    ]
    for one, other in combinations([text for text in texts if not text.get_rotation()], 2):
        assert not one.get_window_extent().overlaps(other.get_window_extent()), (one, other)


@pytest.mark.parametrize('case', CASES)
def test_sheet_is_legible_and_complete(case):
    context = prediction(**CASES[case])
    figure = draw_sheet(context, 'a photograph.jpg')
    assert_legible(figure)
    width, height = figure.get_size_inches()
    assert 5 < width < 13 and height < 15
    shown = {text.get_text() for text in figure.findobj(Text)}
    parts = sheet_parts(context)
    assert {part.title for part in parts.values()} <= shown
    seams = any('straight seams in the maps' in text for text in shown)
    assert seams == (context.num_windows > 1)
    expected = {'image', 'prediction'}
    if context.truth is not None:
        expected |= {'truth', 'errors'}
    if context.presence is not None:
        expected.add('presence')
    if context.assignments is not None:
        expected |= {'codewords', 'codeword_shares'}
        expected |= {f'{end}_{rank}' for end in ('strong', 'weak') for rank in (1, 2, 3)}
    assert set(parts) == expected


def test_several_threads_draw_at_once():
    context = prediction()
    alone = pixels(draw_sheet(context))
    with ThreadPoolExecutor(3) as pool:
        for sheet in pool.map(lambda _: pixels(draw_sheet(context)), range(3)):
            assert (sheet == alone).all()


def test_errors():
    truth = np.array([[0, 1, 255], [0, 1, 1]])
    predicted = np.array([[0, 0, 0], [0, 1, 0]])
    image = np.full((2, 3, 3), 90, np.uint8)
    context = ContextPrediction(image, predicted, ['a', 'b'], [[0, 0, 0], [9, 9, 9]], truth=truth)
    assert context.error_share == 2 / 5
    painted = paint_errors(context)
    wrong = (painted == WRONG).all(axis=-1)
    assert wrong.tolist() == [[False, True, False], [False, False, True]]
    assert painted[0, 2].tolist() == [0, 0, 0]
    unlabelled = ContextPrediction(
        image, predicted, ['a', 'b'], [[0, 0, 0], [9, 9, 9]], truth=np.full((2, 3), 255)
    )
    assert np.isnan(unlabelled.error_share)
    assert_legible(draw_sheet(unlabelled))


def test_codewords_keep_their_colours():
    colours = codeword_colours(64)
    assert (colours[:8] == codeword_colours(8)).all()
    distances = [np.abs(one.astype(int) - other).sum() for one, other in combinations(colours, 2)]
    assert min(distances) > 20
    context = prediction(num_codes=12)
    assert (
        paint_codewords(context) == codeword_colours(12)[context.assignments.argmax(axis=0)]
    ).all()
    assert context.codeword_shares.sum() == pytest.approx(1)


def test_maps_of_another_size_than_their_image():
    with pytest.raises(
        UserError, match=r'ground truth must have the size .* got 4x5 .* expected 4x6'
    ):
        ContextPrediction(
            np.zeros((4, 6, 3), np.uint8),
            np.zeros((4, 6), int),
            ['a'],
            [[0, 0, 0]],
            truth=np.zeros((4, 5), int),
        )
