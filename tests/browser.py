"""Pages in a real browser: Debian's Chromium, without a window and without a network."""

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
    """A Chromium window, as a selenium driver; its profile is new and thrown away.

    Skips the test, with the reason, where there is no browser or no selenium.
    """
    webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is not installed')
    for program in (CHROMIUM, DRIVER):
        if not shutil.which(program):
            pytest.skip(
                f'{program} is not there; on Debian: apt-get install chromium chromium-driver'
            )
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # Containers have no name spaces for the sandbox, and a /dev/shm too small for a page.
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
    """One browser for all tests of this process: starting it takes longer than most of them."""
    with chromium() as driver:
        yield driver


@pytest.fixture
def browser(browser_process: Any) -> Any:
    """The browser at an empty page, its logs emptied.

    Both fixtures are for the ``conftest.py`` of folders whose tests look at pages.
    """
    browser_process.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
    browser_process.get('about:blank')
    for log in ('browser', 'performance'):
        browser_process.get_log(log)
    return browser_process


def console_messages(driver: Any) -> list[str]:
    """What the page has written to the console since the last call, refused loads included."""
    return [entry['message'] for entry in driver.get_log('browser')]


def requested_addresses(driver: Any) -> list[str]:
    """Everything the page has asked for since the last call that is not inside itself."""
    messages = [json.loads(entry['message'])['message'] for entry in driver.get_log('performance')]
    addresses = [
        message['params']['request']['url']
        for message in messages
        if message['method'] == 'Network.requestWillBeSent'
    ]
    return [address for address in addresses if not address.startswith('data:')]


def broken_images(driver: Any) -> list[str]:
    """The descriptions of all images on the page that show nothing."""
    return driver.execute_script(
        'return [...document.images].filter(image => !image.complete || !image.naturalWidth)'
        '.map(image => image.alt || image.src.slice(0, 80))'
    )
