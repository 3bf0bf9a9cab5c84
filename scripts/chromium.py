"""Debian's Chromium through chromedriver: for pictures, measurements and tests of the pages that Muster writes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


def is_installed() -> bool:
    """Whether there are a browser and its driver."""
    return shutil.which("chromedriver") is not None and shutil.which("chromium") is not None


@contextmanager
def chromium(profile: Path, width: int = 1200, height: int = 900) -> Iterator[webdriver.Chrome]:
    """A browser with an empty `profile`; it is gone afterwards."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (*_OPTIONS, f"--window-size={width},{height}", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as browser:
        browser.set_page_load_timeout(120)
        yield browser


def open_page(browser: webdriver.Chrome, address: str) -> None:
    """Load a page, also where only its hash differs, and wait until its script has drawn it."""
    browser.get("about:blank")
    browser.get(address)
    wait_for(browser, "document.documentElement.dataset.ready")


def wait_for(browser: webdriver.Chrome, expression: str, seconds: float = 60) -> object:
    """What a JavaScript expression gives, once that is true. Raises selenium's `TimeoutException`."""
    return WebDriverWait(browser, seconds, poll_frequency=0.05).until(
        lambda driver: driver.execute_script(f"return {expression}")
    )


def console(browser: webdriver.Chrome) -> list[str]:
    """What was complained of since the last look: errors of scripts, what the policy of a page forbade."""
    entries: list[dict[str, str]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [each["message"] for each in entries if "favicon" not in each["message"]]
