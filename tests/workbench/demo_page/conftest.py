from browser import browser, browser_process  # noqa: F401
