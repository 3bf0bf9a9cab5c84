"""The page of a report in a real Chromium: for everybody, by keyboard, in light and dark, on paper."""

from __future__ import annotations

import base64
import contextlib
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, Keys

from accessibility import findings, prefer
from muster.report.page.build import report_of, write
from muster.report.page.page import page as page_of
from muster.report.page.pictures import Pictures
from muster.result_files.reading import read_runs
from scripts.chromium import chromium, console, is_installed, open_page, wait_for
from test_compare import made, right, wrong_from
from test_report import illustrated, press

pytestmark = pytest.mark.skipif(not is_installed(), reason="needs Debian's chromium-driver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs with pictures, categories, confusions, errors and unreadable answers."""
    folder = tmp_path_factory.mktemp("runs")
    plan = illustrated(60, 6, folder)
    odd = {"3": None, "4": " "}
    runs = [
        made(folder / "a", lambda key: odd.get(key.sample_id, right(key)), plan, model="org/model-a"),
        made(folder / "b", wrong_from(45), plan, model="org/model-b"),
    ]
    write(page_of(report_of(read_runs(runs), pictures=Pictures([plan]))), folder / "r.html")
    return folder / "r.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("fragment", ["", "#show=worse&s=toy%2F45", "#q=nothing+like+it"])
def test_axe_finds_nothing(browser: Chrome, page: Path, scheme: str, fragment: str) -> None:
    prefer(browser, scheme)
    open_page(browser, page.as_uri() + fragment)
    if "s=" in fragment:
        wait_for(browser, "document.querySelector('#detail pre')")
    browser.execute_script("document.querySelectorAll('summary').forEach((each) => each.click())")
    assert findings(browser) == []
    assert console(browser) == []


def test_everything_is_reached_by_keyboard_alone(browser: Chrome, page: Path) -> None:
    """Tab comes by every control, and by one card of all; Enter on it opens its sample, also after scrolling."""
    prefer(browser, "light")
    open_page(browser, page.as_uri())
    seen: list[str] = []
    for _ in range(200):
        press(browser, Keys.TAB)
        here = browser.execute_script(
            "const e = document.activeElement; return e === document.body ? '' : e.id || e.className || e.textContent"
        )
        if seen and here in ("", seen[0]) and len(seen) > 5:
            break
        seen.append(here)
    assert {"task", "run", "q", "samples", "card"} <= set(seen)
    assert seen.count("card") == 1
    browser.execute_script("document.querySelector('.card').focus()")
    browser.execute_script("document.getElementById('samples').scrollTop = 40")
    wait_for(browser, "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(true), 50)))")
    press(browser, Keys.ENTER)
    assert wait_for(browser, "document.querySelector('#detail h2')?.textContent") == "toy / 0"
    visible = "getComputedStyle(document.activeElement).outlineStyle"
    browser.execute_script("document.getElementById('q').focus({focusVisible: true})")
    assert browser.execute_script(f"return {visible}") != "none"


def printed(browser: Chrome) -> bytes:
    """The page as a PDF with its structure, backgrounds included."""
    options = {"printBackground": True, "preferCSSPageSize": True, "generateTaggedPDF": True}
    return base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", options)["data"])


def colours(pdf: bytes) -> set[tuple[float, ...]]:
    """All colours that something is filled with, red, green and blue from 0 to 1."""
    found = set()
    for stream in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        with contextlib.suppress(zlib.error):
            fills = re.findall(rb"([\d.]+) ([\d.]+) ([\d.]+) rg", zlib.decompress(stream[1]))
            found |= {tuple(map(float, fill)) for fill in fills}
    return found


def test_on_paper_are_all_tables_twenty_samples_and_no_dark_background(browser: Chrome, page: Path) -> None:
    """Also what is folded on the screen, and for somebody whose screen is dark."""
    prefer(browser, "dark")
    open_page(browser, page.as_uri())
    tables = browser.execute_script("return document.querySelectorAll('main table').length")
    folded = browser.execute_script("return document.querySelectorAll('details table').length")
    in_dialog = browser.execute_script("return document.querySelectorAll('dialog table').length")
    dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    pdf = printed(browser)
    assert folded > 0
    assert len(re.findall(rb"/S /Table\b", pdf)) == tables - in_dialog
    red, green, blue = (int(each) / 255 for each in re.findall(r"\d+", dark))
    assert red < 0.2
    used = colours(pdf)
    assert (1.0, 1.0, 1.0) in used
    assert not [each for each in used if each == pytest.approx((red, green, blue), abs=1e-3)]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    samples = "[...document.querySelectorAll('.printed [data-row]')].filter((each) => each.offsetHeight)"
    of_a, of_b = 1, 15
    assert browser.execute_script(f"return {samples}.length") == of_a + of_b
    assert browser.execute_script(f"return {samples}.every((each) => each.querySelector('img'))")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
