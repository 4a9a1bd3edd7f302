"""The page in a browser."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
import pytest
from browser import broken_images, console_messages, requested_addresses
from PIL import Image

from mmseg_encnet.workbench.reporting.evaluation_record import EvaluationRecord
from mmseg_encnet.workbench.reporting.page import render_page
from mmseg_encnet.workbench.reporting.run_record import Curve, RunRecord
from mmseg_encnet.workbench.reporting.section import ReportedRun

CLASSES = ['sky', 'grass', 'boat', 'cow']


def evaluation(seed: int = 0, classes: list[str] = CLASSES, **changes) -> EvaluationRecord:
    rng = np.random.default_rng(seed)
    size = len(classes)
    confusion = rng.integers(1, 100, (size, size)) + np.diag(rng.integers(50, 500, size))
    # The last class is absent.
    confusion[-1] = confusion[:, -1] = 0
    present = rng.random((12, size)) < 0.5
    sheet = io.BytesIO()
    Image.new('RGB', (60, 40), (seed, 90, 30)).save(sheet, 'png')
    fields = dict(
        checkpoint='iter_20.pth',
        dataset='Some, 12 images',
        classes=classes,
        palette=[[40 * index, 90, 200] for index in range(size)],
        metrics={'mIoU': 41.0 + seed, 'presence/mAP': 90.0},
        confusion=confusion,
        probabilities=rng.random((12, size)).astype(np.float32),
        present=present,
        images_per_second=3.0,
        peak_memory=2**22,
        parameters=1_234_567,
        parameters_at_inference=1_000_000,
        machine='a machine',
        sheets={'photo': sheet.getvalue()},
    )
    return EvaluationRecord(**fields | changes)


def run(
    name: str,
    evaluation: EvaluationRecord | None,
    config: dict | None = None,
    problems: tuple[str, ...] = (),
    loss: tuple[float, ...] = (3.0, 2.0),
    broken_lines: int = 0,
) -> ReportedRun:
    training = {key: Curve((10, 20), loss) for key in ('loss', 'decode.loss_ce', 'lr')}
    training['time'] = Curve((10, 20), (0.5, 0.5))
    validation = {'mIoU': Curve((20,), (40.0,))} if evaluation else {}
    record = RunRecord(Path('/runs', name), training, validation, None, 1, broken_lines)
    model = dict(type='ContextEncoderDecoder', decode_head=dict(type='EncodingHead', num_codes=8))
    return ReportedRun(name, record, dict(model=model, **(config or {})), evaluation, problems)


PAGES = {
    'one run': [run('plain', evaluation())],
    'several runs': [
        run('first', evaluation(1)),
        run('no branch', evaluation(2, probabilities=None), dict(randomness=dict(seed=1))),
        run('<script>alert("x")</script>', None, problems=('Its data are missing.',)),
    ],
    'classes that do not match': [
        run('a', evaluation(1)),
        run('b', evaluation(2, [f'c{index}' for index in range(40)])),
    ],
    'logs alone': [run('log', None, loss=(3.0, float('nan')), broken_lines=1)],
    'nothing finite': [run('burst', None, loss=(float('nan'), float('inf')))],
}


@functools.cache
def rendered(name: str) -> str:
    return render_page(PAGES[name])


@pytest.fixture
def page(request, browser, tmp_path):
    """Open a page from disk in the browser."""
    path = tmp_path / 'page.html'
    path.write_text(rendered(request.param), encoding='utf-8')
    browser.get(path.as_uri())
    return browser


@pytest.mark.parametrize('page', PAGES, indirect=True)
def test_page_opens_from_disk_whole(page):
    assert console_messages(page) == []
    addresses = requested_addresses(page)
    assert len(addresses) == 1 and addresses[0].startswith('file://')
    assert page.execute_script('return document.images.length') >= 1
    assert broken_images(page) == []
    assert page.execute_script('return [...document.images].every(image => image.alt.length > 20)')
    # On a phone tables scroll, not the page.
    page.execute_cdp_cmd(
        'Emulation.setDeviceMetricsOverride',
        dict(width=380, height=800, deviceScaleFactor=2, mobile=True),
    )
    assert page.execute_script('return document.documentElement.scrollWidth') <= 380


def column(page, caption: str, index: int) -> list[str]:
    return page.execute_script(
        'return [...document.querySelectorAll(`[aria-label="${arguments[0]}"] tbody tr`)]'
        '.map(row => row.cells[arguments[1]].innerText.trim())',
        caption,
        index,
    )


@pytest.mark.parametrize('page', ['several runs'], indirect=True)
def test_tables_sort_by_mouse_and_keyboard(page):
    buttons = page.find_elements('css selector', '[aria-label^="Classes"] thead button')
    titles = [button.text for button in buttons]
    iou = titles.index('IoU of A (%)')

    buttons[0].click()
    assert column(page, 'Classes: A first, B no branch', 0) == sorted(CLASSES)
    for direction in (-1, 1):
        # The second click is a key press.
        buttons[iou].click() if direction == -1 else buttons[iou].send_keys('\ue007')
        shown = column(page, 'Classes: A first, B no branch', iou)
        # Empty cells are last in both directions.
        assert shown[-1] == '\N{EN DASH}'
        numbers = [float(value) for value in shown[:-1]]
        assert numbers == sorted(numbers, reverse=direction == -1) and len(set(numbers)) > 1
        names = column(page, 'Classes: A first, B no branch', 0)
        assert names[-1] == 'cow' and sorted(names) == sorted(CLASSES)
    sorts = [
        header.get_attribute('aria-sort')
        for header in page.find_elements('css selector', '[aria-label^="Classes"] thead th')
    ]
    assert sorts[iou] == 'ascending' and sorts.count(None) == len(sorts) - 1


@pytest.mark.parametrize('page', ['several runs'], indirect=True)
def test_runs_are_compared(page):
    text = page.execute_script('return document.body.innerText')
    for words in (
        'Its data are missing.',
        'No presence probabilities for B no branch: its model has no SE branch',
        'No confusion matrix for C <script>alert("x")</script>: its checkpoint was not evaluated',
        'Small numbers are differences from A first.',
    ):
        assert words in text
    assert column(page, 'Config differences', 0) == ['randomness.seed']
    assert column(page, 'Config differences', 2) == ['1']
    miou = [value.split() for value in column(page, 'Results', 1)]
    assert float(miou[1][1]) == pytest.approx(float(miou[1][0]) - float(miou[0][0]), abs=0.011)
    pairs = column(page, 'Most confused pairs: A first, B no branch', 0)
    assert set(pairs) <= set(CLASSES[:-1])


@pytest.mark.parametrize(
    'runs, words',
    [
        (
            'classes that do not match',
            [
                'Classes are compared only between runs with the same classes',
                'A a with 4 classes; B b with 40 classes',
            ],
        ),
        (
            'logs alone',
            [
                'Non-finite losses leave gaps',
                'Skipped 1 unreadable line of the log',
                'its log contains no validation',
                'from the log.',
            ],
        ),
    ],
)
def test_page_says_what_it_cannot_show(runs, words):
    page = rendered(runs)
    assert all(each in page for each in words)


def test_same_runs_give_the_same_page():
    assert render_page(PAGES['logs alone']) == rendered('logs alone')
