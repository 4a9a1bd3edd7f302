"""Positions of windows and the average of their maps."""

from __future__ import annotations

import pytest
import torch

from mmseg_encnet.models.segmentors.windows import average_maps, pad, place_windows


def sides(size: int, crop: int, stride: int, shift_last: bool) -> list[tuple[int, int]]:
    """Return the start and the stop of the windows over an input of one column."""
    windows = place_windows((size, 1), (crop, 1), (stride, 1), shift_last)
    assert all(window.columns == slice(0, 1) for window in windows)
    return [(window.rows.start, window.rows.stop) for window in windows]


@pytest.mark.parametrize(
    ('size', 'crop', 'stride', 'shifted', 'cut'),
    [
        (5, 8, 4, [(0, 5)], [(0, 5)]),
        (8, 8, 4, [(0, 8)], [(0, 8)]),
        (12, 8, 4, [(0, 8), (4, 12)], [(0, 8), (4, 12)]),
        (13, 8, 4, [(0, 8), (4, 12), (5, 13)], [(0, 8), (4, 12), (8, 13)]),
        (9, 8, 8, [(0, 8), (1, 9)], [(0, 8), (8, 9)]),
    ],
)
def test_positions(size, crop, stride, shifted, cut):
    assert sides(size, crop, stride, shift_last=True) == shifted
    assert sides(size, crop, stride, shift_last=False) == cut


@pytest.mark.parametrize('shift_last', [False, True])
@pytest.mark.parametrize('size', [(7, 9), (16, 20), (17, 33)])
def test_a_network_without_context_gives_the_same_in_windows(size, shift_last):
    inputs = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    windows = place_windows(size, (8, 10), (5, 4), shift_last)

    # Maps of cut windows may be larger than the window.
    maps = (
        2 * pad(inputs[:, :, window.rows, window.columns], (8, 10), torch.ones(3, 1, 1))
        for window in windows
    )
    torch.testing.assert_close(average_maps(windows, maps, size), 2 * inputs)


def test_a_single_window_keeps_the_dtype():
    inputs = torch.randn(1, 3, 8, 8).half()
    for crop, dtype in (((8, 8), torch.float16), ((4, 4), torch.float32)):
        windows = place_windows((8, 8), crop, crop, shift_last=True)
        maps = (inputs[:, :, window.rows, window.columns] for window in windows)
        assert average_maps(windows, maps, (8, 8)).dtype == dtype


def test_padding_is_at_the_bottom_and_on_the_right():
    image = torch.zeros(1, 2, 2, 3)
    padded = pad(image, (3, 3), torch.tensor([1.0, 2.0]).view(2, 1, 1))
    assert padded[0, :, :, 0].tolist() == [[0, 0, 1], [0, 0, 2]]
    assert pad(image, (2, 2), torch.zeros(2, 1, 1)) is image
