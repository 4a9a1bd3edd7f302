"""Pages in a real browser: Debian's Chromium, headless and without network access."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM, DRIVER = '/usr/bin/chromium', '/usr/bin/chromedriver'


@contextmanager
def chromium(width: int = 1400, height: int = 1000) -> Iterator[Any]:
    """Yield a selenium driver of a Chromium window with a temporary profile.

    The test is skipped if Chromium or selenium is not installed.
    """
    webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is not installed')
    for program in (CHROMIUM, DRIVER):
        if not shutil.which(program):
            pytest.skip(
                f'{program} is not installed; on Debian: apt-get install chromium chromium-driver'
            )
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # Containers lack the namespaces of the sandbox, and their /dev/shm is too small for a page.
    for argument in (
        '--headless=new',
        '--no-sandbox',
        '--disable-dev-shm-usage',
        '--disable-gpu',
        '--hide-scrollbars',
        f'--window-size={width},{height}',
    ):
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', dict(browser='ALL', performance='ALL'))
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope='session')
def browser_process() -> Iterator[Any]:
    """Yield one browser for all tests of this process: starting it takes longer than most tests."""
    with chromium() as driver:
        yield driver


@pytest.fixture
def browser(browser_process: Any) -> Any:
    """Return the browser at an empty page, with empty logs.

    Both fixtures are imported by the ``conftest.py`` of folders with tests of pages.
    """
    browser_process.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
    browser_process.get('about:blank')
    for log in ('browser', 'performance'):
        browser_process.get_log(log)
    return browser_process


def console_messages(driver: Any) -> list[str]:
    """Return the console messages since the last call, including refused loads."""
    return [entry['message'] for entry in driver.get_log('browser')]


def requested_addresses(driver: Any) -> list[str]:
    """Return the addresses requested since the last call, without ``data:`` URLs."""
    messages = [json.loads(entry['message'])['message'] for entry in driver.get_log('performance')]
    addresses = [
        message['params']['request']['url']
        for message in messages
        if message['method'] == 'Network.requestWillBeSent'
    ]
    return [address for address in addresses if not address.startswith('data:')]


def broken_images(driver: Any) -> list[str]:
    """Return the descriptions of all images on the page that have not loaded."""
    return driver.execute_script(
        'return [...document.images].filter(image => !image.complete || !image.naturalWidth)'
        '.map(image => image.alt || image.src.slice(0, 80))'
    )
