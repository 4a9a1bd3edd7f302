"""The demo page in a browser, from the upload to the name under the cursor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import broken_images, console_messages, requested_addresses
from PIL import Image
from tiny_setup import MSRC21
from waiting import free_port, wait_for

from mmseg_encnet.checkpoints.plain_loading import load_from_local
from mmseg_encnet.predicting import Segmentor, load_segmentor
from mmseg_encnet.running.runner import EncNetRunner
from mmseg_encnet.visualization.style import percent

SECONDS = 30
# Gradio's client logs this whenever it closes an event stream.
GRADIO_NOISE = ('Method not implemented.',)


def shown(driver: Any, selector: str) -> list[str]:
    """Return the texts of the visible elements."""
    return driver.execute_script(
        'return [...document.querySelectorAll(arguments[0])]'
        '.filter(element => element.getClientRects().length)'
        '.map(element => element.innerText)',
        selector,
    )


def drop(driver: Any, path: Path) -> None:
    driver.find_element('css selector', '#em-upload input[type=file]').send_keys(str(path))


def drag_threshold(driver: Any, value: float) -> None:
    """Set the slider as dragging its knob does."""
    driver.execute_script(
        'const knob = document.querySelector("#em-threshold input[type=range]");'
        'knob.value = arguments[0]; knob.dispatchEvent(new Event("input", {bubbles: true}));',
        value,
    )


def point_at(driver: Any, place: int, x: float, y: float) -> str:
    """Point at a map, at fractions of its width and height; return the text of the tooltip."""
    from selenium.webdriver import ActionChains

    element = driver.find_elements('css selector', '.em-map')[place]
    driver.execute_script(
        'document.getElementById("em-tip")?.replaceChildren();'
        'arguments[0].scrollIntoView({block: "center"})',
        element,
    )
    box = element.size
    ActionChains(driver).move_to_element_with_offset(
        element, round((x - 0.5) * box['width']), round((y - 0.5) * box['height'])
    ).perform()
    return wait_for(lambda: ''.join(shown(driver, '#em-tip')))


LEGEND = '[aria-label="Class shares"] .em-name'
PREDICTION = 'return document.querySelectorAll(".em-map img")[1].src'
REMOVED = '[aria-label="Class presence"] .em-faded .em-name'


@pytest.fixture
def photograph(tiny_data: Path) -> Path:
    return tiny_data / 'images' / 'val' / '1.jpg'


@pytest.fixture
def checkpoint(tiny_config, photograph) -> tuple[Path, str]:
    """Return a checkpoint of a short run, and its most predicted class, with low presence."""
    cfg = tiny_config()
    EncNetRunner.from_cfg(cfg).train()
    path = next(Path(cfg.work_dir).glob('*.pth'))
    segmentor = load_segmentor(cfg, str(path), 'cpu')
    labels = segmentor.predict(photograph).pred_sem_seg.data
    most = int(labels.flatten().bincount().argmax())
    content = load_from_local(path)
    layer = 'decode_head.se_layer'
    content['state_dict'][f'{layer}.weight'].zero_()
    # Probabilities of 0.95 and 0.12.
    content['state_dict'][f'{layer}.bias'].fill_(3)[most] = -2
    torch.save(content, path)
    return path, segmentor.classes[most]


@pytest.fixture
def segmentor(tiny_config, checkpoint) -> Segmentor:
    return load_segmentor(tiny_config(), str(checkpoint[0]), 'cpu')


@pytest.fixture
def address(segmentor):
    pytest.importorskip('gradio', reason='gradio is not installed')
    from mmseg_encnet.workbench.demo_page.server import serve

    with serve(segmentor, 'a model', port=int(free_port())) as address:
        yield address


def test_page(
    browser, address, checkpoint, segmentor, photograph, tiny_options, run_tool, tmp_path
):
    path, absent = checkpoint
    browser.get(address)
    wait_for(lambda: browser.find_elements('css selector', '#em-upload input[type=file]'))

    # An error is one sentence, and the page continues.
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(photograph.read_bytes()[:30])
    drop(browser, broken)
    (sentence,) = wait_for(lambda: shown(browser, '[role=alert]'))
    assert sentence.startswith('cannot decode broken.jpg')

    wait_for(lambda: browser.find_elements('css selector', '#em-upload input[type=file]'))
    drop(browser, photograph)
    legend = wait_for(lambda: shown(browser, LEGEND))
    assert absent in legend
    assert shown(browser, '[role=alert]') == [] == shown(browser, REMOVED)
    assert shown(browser, 'figcaption')[:3] == [photograph.name, 'Prediction', 'Strongest codeword']
    assert len(shown(browser, '.em-map')) == 9
    assert broken_images(browser) == []

    # The tooltip shows the class and the codeword of the pixel in every map.
    sample = segmentor.predict(photograph, context_maps=True)
    labels, assignments = sample.pred_sem_seg.data[0], sample.assignments.data
    for x, y in [(0.1, 0.3), (0.8, 0.9)]:
        row, column = (int(share * side) for share, side in zip((y, x), labels.shape))
        weight, codeword = assignments[:, row, column].max(dim=0)
        named, code = point_at(browser, 1, x, y).split('\n')
        near = labels[row - 1 : row + 2, column - 1 : column + 2]
        assert named in {segmentor.classes[label] for label in near.flatten()}
        assert code.startswith(f'codeword {codeword}: assignment ')
        assert float(code.split()[3].rstrip(',')) == pytest.approx(float(weight), abs=0.05)
        assert f'{percent(float(assignments[codeword].mean()))} of the image' in code
        assert point_at(browser, 8, x, y).split('\n')[0] == named

    # A threshold removes the class at once, and restores it.
    before = browser.execute_script(PREDICTION)
    drag_threshold(browser, 0.5)
    wait_for(lambda: shown(browser, REMOVED) == [absent])
    assert absent not in shown(browser, LEGEND)
    assert browser.execute_script(PREDICTION) != before
    assert point_at(browser, 1, 0.1, 0.3).split('\n')[0] != absent
    drag_threshold(browser, 0)
    wait_for(lambda: shown(browser, REMOVED) == [])
    assert browser.execute_script(PREDICTION) == before

    errors = [
        message
        for message in console_messages(browser)
        if not any(noise in message for noise in GRADIO_NOISE)
    ]
    assert errors == []
    assert all(
        asked.startswith((address, 'blob:', 'about:')) for asked in requested_addresses(browser)
    )

    # The port of this page and an invalid one are not available.
    for port in (address.rstrip('/').rpartition(':')[2], 99999):
        tool = run_tool('demo_app', MSRC21, path, '--port', port, options=tiny_options)
        assert f'port {port} on 127.0.0.1' in tool.sentence


def test_sessions_keep_apart(browser, address, photograph, tmp_path):
    """Two users upload different photographs to the page of one model."""
    other = tmp_path / 'other.png'
    Image.fromarray(np.full((48, 96, 3), (10, 200, 30), np.uint8)).save(other)
    first = browser.current_window_handle
    windows = {}
    try:
        for path in (photograph, other):
            browser.switch_to.new_window('tab')
            windows[path] = browser.current_window_handle
            browser.get(address)
            wait_for(lambda: browser.find_elements('css selector', '#em-upload input[type=file]'))
            drop(browser, path)
            wait_for(lambda: shown(browser, LEGEND))
        browser.switch_to.window(windows[photograph])
        drag_threshold(browser, 0.5)
        wait_for(lambda: shown(browser, REMOVED))
        size = browser.execute_script(
            'const data = document.querySelector("[data-kind=classes]");'
            'return [data.naturalWidth, data.naturalHeight]'
        )
        assert tuple(size) == Image.open(photograph).size
        browser.switch_to.window(windows[other])
        assert shown(browser, REMOVED) == []
    finally:
        for window in windows.values():
            browser.switch_to.window(window)
            browser.close()
        browser.switch_to.window(first)


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['nothing.py', 'weights.pth'], 'nothing.py'),
        ([MSRC21, 'weights.pth'], 'checkpoint weights.pth does not exist'),
    ],
    ids=['config', 'checkpoint'],
)
def test_bad_input(arguments, words, run_tool):
    pytest.importorskip('gradio', reason='gradio is not installed')
    assert words in run_tool('demo_app', *arguments).sentence


def test_without_gradio(run_tool, monkeypatch):
    for module in ('page', 'server'):
        name = f'mmseg_encnet.workbench.demo_page.{module}'
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, 'gradio', None)
    assert 'mmsegmentation-encnet[demo]' in run_tool('demo_app', MSRC21, 'weights.pth').sentence
