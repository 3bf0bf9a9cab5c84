"""`muster report`: a page that tells the truth, survives hostile text, and works in a real browser from a file."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from muster.cli.app import app
from muster.core import Media, RequestKey
from muster.report.page.build import write_report
from muster.report.page.timeline import timeline_of
from muster.results.journal import Journal
from muster.results.journal_lines import Record
from test_compare import made, right, wrong_from
from toy_task import ToySource, answer, toy_plan, toy_samples

PAYLOADS = [
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<svg/onload=window.hacked=1>",
    '"><svg onload=window.hacked=1>',
    "' onmouseover='window.hacked=1",
    '" autofocus onfocus="window.hacked=1',
    "<iframe srcdoc='<script>parent.hacked=1</script>'>",
    "javascript:window.hacked=1",
    "<a href=javascript:window.hacked=1>x</a>",
    "<style>*{display:none}</style>",
    "<base href=//e.example>",
    "<meta http-equiv=refresh content=0;url=//e.example>",
    "<!-- --!><script>window.hacked=1</script>",
    "<math><mtext></mtext><mglyph><style></math><img src onerror=window.hacked=1>",
    "<template><script>window.hacked=1</script></template>",
    "<details open ontoggle=window.hacked=1>",
    "<body onload=window.hacked=1>",
    "<object data=javascript:window.hacked=1>",
    "<embed src=javascript:window.hacked=1>",
    "<form action=javascript:window.hacked=1><input type=submit autofocus>",
    "<input onfocus=window.hacked=1 autofocus>",
    "<video><source onerror=window.hacked=1></video>",
    "<marquee onstart=window.hacked=1>",
    "{{constructor.constructor('window.hacked=1')()}}",
    "${window.hacked=1}",
    "`-window.hacked=1-`",
    "\\u003cscript\\u003ewindow.hacked=1\\u003c/script\\u003e",
    "&lt;script&gt;window.hacked=1&lt;/script&gt;",
    "\u202egnp.exe",
    "\x1b[31mred\x00\x07",
    "]]><script>window.hacked=1</script>",
    "<textarea></textarea><script>window.hacked=1</script>",
    "<title></title><script>window.hacked=1</script>",
    "<noscript><p title='</noscript><img src=x onerror=window.hacked=1>'>",
    "#show=wrong&s=<img src=x onerror=window.hacked=1>",
]
CORPUS = [*PAYLOADS, *(p.upper() for p in PAYLOADS), *(p.replace(" ", "\n") for p in PAYLOADS)]
"""What models and datasets may say; over a hundred."""


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed(page)
    return parser.found


def shard(page: str, name: str) -> Any:
    match = re.search(rf'id="{name}">([^<]*)<', page)
    assert match is not None
    return json.loads(gzip.decompress(base64.b64decode(match[1])))


def hostile(root: Path) -> Path:
    samples = [
        replace(
            sample,
            id=f"{number} {text}",
            question=text,
            choices=(text, "b"),
            answers=(text,),
            metadata={"category": text},
        )
        for number, (sample, text) in enumerate(zip(toy_samples(len(CORPUS)), CORPUS, strict=True))
    ]
    plan = replace(toy_plan(0, source=ToySource(samples)), samples=samples)
    return made(root, lambda key: CORPUS[int(key.sample_id.split(" ")[0])], plan, model="<b>m</b>")


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    """Ids, questions, options, answers, categories, labels: nothing becomes an element or an attribute."""
    run = hostile(tmp_path / "a")
    write_report([run], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    found = elements(page)
    scripts = [attributes for tag, attributes in found if tag == "script"]
    assert [each for each in scripts if each.get("type") != "application/x-muster"] == [{}]
    assert not [
        tag for tag, _ in found if tag in ("iframe", "img", "base", "object", "embed", "form", "video")[:5]
    ]
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
    assert len([tag for tag, _ in found if tag == "meta"]) == 3
    assert all(str(attributes["href"]).startswith("#") for tag, attributes in found if tag == "a")
    policy = next(
        a["content"] for t, a in found if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert shard(page, "d0")[0]["runs"][0]["answer"] == CORPUS[0]
    assert "http" not in re.sub(r"<script type=.*?</script>|http-equiv", "", page, flags=re.DOTALL)


def test_the_numbers_are_those_of_the_results(tmp_path: Path) -> None:
    plan = toy_plan(60)
    run = made(tmp_path / "a", wrong_from(45), plan)
    result = CliRunner().invoke(app, ["report", str(run)])
    assert result.exit_code == 0, result.output
    page = (run / "report.html").read_text()
    assert f"report in {run / 'report.html'}" in result.output.replace("\n", "")
    accuracy = json.loads((run / "results.json").read_text())["tasks"]["toy"]["metrics"]["accuracy"]
    assert f'title="{accuracy["value"]}"' in page
    index = shard(page, "index")
    assert sum(index["runs"][0]["score"]) == 45
    assert index["tasks"] == ["toy"]


def test_two_runs_side_by_side(tmp_path: Path) -> None:
    first, second = (
        made(tmp_path / "a", right, toy_plan(60)),
        made(tmp_path / "b", wrong_from(45), toy_plan(60)),
    )
    write_report([first, second], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "toy: B is worse than A by 25.0 points" in page
    assert "15 worse" in page
    assert [len(each["score"]) for each in shard(page, "index")["runs"]] == [60, 60]


def test_long_answers_are_kept_whole_and_far_from_the_first_paint(tmp_path: Path) -> None:
    long = "word " * 100_000
    run = made(tmp_path / "a", lambda key: long if key.sample_id == "0" else right(key), toy_plan(10))
    write_report([run], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert len(page) < 200_000
    assert shard(page, "d0")[0]["runs"][0]["answer"] == long


def test_the_timeline_tells_who_worked_when(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.jsonl", "r") as journal:
        for number in range(20):
            record = answer(RequestKey("t", str(number)), "x")
            worker = f"w{number % 2}"
            journal.append(Record(replace(record.completion, seconds=0.5), worker, 100.0 + number, 1))
    timeline = timeline_of(tmp_path / "j.jsonl")
    assert timeline is not None
    assert [lane.answered for lane in timeline.lanes] == [10, 10]
    assert timeline.efficiency == pytest.approx(0.26, abs=0.03)
    assert sum(timeline.rate) == 20
    assert timeline_of(tmp_path / "none.jsonl") is None


# -- in a browser

needs_chromium = pytest.mark.skipif(
    shutil.which("chromedriver") is None or shutil.which("chromium") is None,
    reason="needs Debian's chromium-driver",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", "--window-size=1200,900", f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    driver.set_page_load_timeout(120)
    yield driver
    driver.quit()


def opened(browser: Any, page: Path, fragment: str = "") -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get("about:blank")
    browser.get(page.as_uri() + fragment)
    WebDriverWait(browser, 60).until(
        lambda b: b.execute_script("return document.documentElement.dataset.ready")
    )


def press(browser: Any, key: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(key).perform()


def waited(browser: Any, script: str) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 30).until(lambda b: b.execute_script(f"return {script}"))


def found(browser: Any) -> str:
    return str(browser.execute_script("return document.getElementById('found').textContent"))


@needs_chromium
def test_in_a_browser_filters_keys_search_and_links(browser: Any, tmp_path: Path) -> None:
    image = tmp_path / "i.png"
    Image.new("RGB", (64, 48), "red").save(image)
    samples = [replace(sample, images=(Media("image", path=str(image)),)) for sample in toy_samples(60)]
    plan = replace(toy_plan(60, source=ToySource(samples)), samples=samples)
    first, second = made(tmp_path / "a", right, plan), made(tmp_path / "b", wrong_from(45), plan)
    page = tmp_path / "r.html"
    write_report([first, second], page)
    opened(browser, page)
    assert found(browser) == "60 of 60 samples"
    press(browser, "d")  # A right, B wrong
    assert waited(browser, "location.hash") == "#show=worse"
    assert found(browser) == "15 of 60 samples"
    press(browser, "j")
    assert "s=toy%2F45" in waited(browser, "location.hash.includes('s=') && location.hash")
    title = waited(browser, "document.querySelector('#detail h2')?.textContent")
    assert title == "toy / 45"
    press(browser, "j")
    assert waited(browser, "document.querySelector('#detail h2')?.textContent === 'toy / 46'")
    opened(browser, page, "#q=does+59+end")
    assert found(browser) == "1 of 60 samples"
    opened(browser, page, "#show=better")
    assert found(browser) == "0 of 60 samples"
    press(browser, "?")
    assert waited(browser, "document.getElementById('help').open")


@needs_chromium
def test_in_a_browser_nothing_hostile_runs(browser: Any, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    write_report([hostile(tmp_path / "a")], page)
    opened(browser, page)
    for _ in range(len(PAYLOADS)):
        press(browser, "j")
    shown = waited(
        browser,
        "document.querySelectorAll('#detail pre').length && document.querySelector('#detail').textContent",
    )
    assert PAYLOADS[len(PAYLOADS) - 1] in shown
    assert browser.execute_script("return window.hacked") is None
    assert not [line for line in browser.get_log("browser") if "favicon" not in line["message"]]
