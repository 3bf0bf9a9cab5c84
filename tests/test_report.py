"""`muster report`: a page that tells the truth, survives hostile text, and works in a real browser from a file."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from typer.testing import CliRunner

from muster.cli.app import app
from muster.core import Media, RequestKey
from muster.report import page as report_page
from muster.report.page.build import report_of, write_report
from muster.report.page.charts import lanes_chart
from muster.report.page.page import page as page_of
from muster.report.page.pictures import Pictures, Wanted
from muster.report.page.timeline import MOST_LANES, timeline_of
from muster.result_files.reading import read_runs
from muster.results.folder import RunFolder
from muster.results.journal import Journal
from muster.results.journal_lines import Record
from muster.results.manifest import Manifest
from muster.results.scoring import score_run
from muster.results.snapshot import Snapshot, WorkerSnapshot
from muster.tasks.plan import PlannedTask
from scripts.chromium import chromium, console, is_installed, open_page, wait_for
from test_compare import made, right, wrong_from
from toy_task import ToySource, answer, keys_of, toy_plan, toy_samples

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


def test_a_task_without_a_pair_spoils_no_chart(tmp_path: Path) -> None:
    plans = toy_plan(40), toy_plan(40, name="other")
    first = made(tmp_path / "a", right, *plans)
    second = made(tmp_path / "b", lambda key: None if key.task == "toy" else wrong_from(30)(key), *plans)
    write_report([first, second], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert not re.search(r"\bnan\b", page)
    assert "no sample with a score in both" in page
    assert "worse in 1, without a sample that both have a score for in 1" in page
    dots = [attributes for tag, attributes in elements(page) if tag == "circle"]
    assert len(dots) == 4  # two scores of `other` and the difference, one of `toy`


def test_compare_writes_the_page_of_what_it_compared(tmp_path: Path) -> None:
    """With the tasks and the pairs that it was asked for, and nothing but JSON on standard output."""
    plans = [toy_plan(60), toy_plan(20, name="other")]
    runs = [
        made(tmp_path / name, wrong_from(number), *plans)
        for name, number in (("a", 60), ("b", 40), ("c", 20))
    ]
    page = tmp_path / "compared.html"
    options = ["--task", "toy", "--all-pairs", "--html", str(page), "--json"]
    result = CliRunner().invoke(app, ["compare", *map(str, runs), *options])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["tasks"][0]["name"] == "toy"
    assert f"page in {page}" in result.stderr
    assert shard(page.read_text(), "index")["tasks"] == ["toy"]
    rows = re.findall(r"<td class=differences>(.*?)</td>", page.read_text())
    assert [len(re.findall("points", row)) for row in rows] == [3]


def test_a_file_of_predictions_has_a_report_with_the_pictures_of_its_task(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "i.png")
    rows = [{"id": str(n), "question": f"Number {n}?", "answer": "a", "images": ["i.png"]} for n in range(4)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = tmp_path / "mine.yaml"
    task.write_text("name: mine\nsource: {file: mine.jsonl}\nmetric: exact_match\n")
    predictions = tmp_path / "p.jsonl"
    predictions.write_text(
        "".join(json.dumps({"id": str(n), "prediction": "ab"[n % 2]}) + "\n" for n in range(4))
    )
    result = CliRunner().invoke(app, ["report", str(predictions), "--predictions-of", str(task)])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "p.report.html").read_text()
    index = shard(page, "index")
    assert index["runs"][0]["score"] == [1.0, 0.0, 1.0, 0.0]
    assert index["rows"]["pictures"] == [[0]] * 4
    assert shard(page, "d0")[0]["prompt"] == "Number 0?"


def test_long_answers_are_kept_whole_and_far_from_the_first_paint(tmp_path: Path) -> None:
    long = "word " * 100_000
    run = made(tmp_path / "a", lambda key: long if key.sample_id == "0" else right(key), toy_plan(10))
    write_report([run], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert len(page) < 200_000
    assert shard(page, "d0")[0]["runs"][0]["answer"] == long


def test_the_longest_answers_are_named_and_none_where_all_are_alike(tmp_path: Path) -> None:
    """A link to five samples out of a thousand of one length would say that something is wrong with them."""
    plan, folder = toy_plan(300), RunFolder(tmp_path / "a")
    made(folder.root, right, plan)
    assert "the longest" in (page := "".join(page_of(report_of(read_runs([folder.root])))))
    assert page.count('data-go="s=') == 0
    records = [answer(key, right(key), at=float(n)) for n, key in enumerate(keys_of(plan))]
    slow = replace(records[7].completion, seconds=90.0)
    folder.journal.unlink()
    with Journal.open(folder.journal, "a") as journal:
        journal.append_many([*records[:7], replace(records[7], completion=slow), *records[8:]])
    score_run(folder, [plan], manifest=Manifest.load(folder.manifest), timing={})
    page = "".join(page_of(report_of(read_runs([folder.root]))))
    assert re.findall(r'data-go="s=([^"]*)" title="([^"]*)"', page) == [("toy%2F7", "90.000")]


def test_the_timeline_tells_who_worked_when(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.jsonl", "r") as journal:
        for number in range(20):
            record = answer(RequestKey("t", str(number)), "x")
            worker = f"w{number % 2}"
            journal.append(Record(replace(record.completion, seconds=0.5), worker, 100.0 + number, 1))
    timeline = timeline_of(tmp_path / "j.jsonl")
    assert timeline is not None
    assert [lane.answered for lane in timeline.whole.lanes] == [10, 10]
    assert timeline.efficiency == pytest.approx(0.26, abs=0.03)
    assert sum(timeline.whole.rate) == 20
    assert timeline.tail is None
    assert timeline.static_seconds == pytest.approx(19.5)  # as it was: equal answers
    assert timeline_of(tmp_path / "none.jsonl") is None
    workers = [WorkerSnapshot("w0", restarts=2), WorkerSnapshot("w1", state="lost"), WorkerSnapshot("w2")]
    told = timeline_of(tmp_path / "j.jsonl", Snapshot(0.0, 1, [], workers, 0, 0, 0, 0.0, 0))
    assert told is not None
    assert told.troubles == ("w0 was started again 2 times", "w1 was lost")
    assert [(lane.restarts, lane.gone) for lane in told.whole.lanes] == [(2, False), (0, True)]


def answered(root: Path, plan: PlannedTask, how: Callable[[int], tuple[str, float, float]]) -> Path:
    """A run whose n-th answer came as `how` says: worker, unix seconds, seconds that it took."""
    folder = RunFolder(root)
    folder.create()
    with Journal.open(folder.journal, root.name) as journal:
        for number, key in enumerate(keys_of(plan)):
            worker, at, seconds = how(number)
            journal.append(
                Record(replace(answer(key, right(key)).completion, seconds=seconds), worker, at, 1)
            )
    manifest = Manifest.describe(
        run=root.name, model="m", backend="x", model_args={}, config={}, planned=[plan]
    )
    manifest.save(folder.manifest)
    score_run(folder, [plan], manifest=manifest, timing={})
    return root


@pytest.mark.parametrize(
    "times",
    [
        lambda n: (100.0, 0.0),
        lambda n: (1e9 - 1000.0 * n, 0.5),
        lambda n: (100.0 + n, -3.0),
        lambda n: (1e308 if n % 2 else -1e308, 0.5),
        lambda n: (100.0 + n, 1e300),
    ],
    ids=["no time", "a clock that goes back", "negative", "no moments", "for ever"],
)
def test_strange_times_spoil_no_page(tmp_path: Path, times: Callable[[int], tuple[float, float]]) -> None:
    plan = toy_plan(120)
    run = answered(tmp_path / "a", plan, lambda number: (f"w{number % 3}", *times(number)))
    write_report([run], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert not re.search(r"\b(nan|inf)\b", page.split("<script")[0])
    assert not re.search(r'(width|x|y|height)="-?(nan|inf|-)', page)
    assert sum(shard(page, "index")["runs"][0]["score"]) == 120


def test_of_many_workers_the_first_are_shown_and_the_number_told(tmp_path: Path) -> None:
    plan = toy_plan(2 * MOST_LANES)
    run = answered(tmp_path / "a", plan, lambda number: (f"w{number:04}", 100.0 + number, 0.25))
    found = timeline_of(run / "journal.jsonl")
    assert found is not None
    assert [bool(lane.busy) for lane in found.whole.lanes] == [True] * MOST_LANES + [False] * MOST_LANES
    assert sum(found.whole.rate) == 2 * MOST_LANES
    write_report([run], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert f"The first {MOST_LANES} of {2 * MOST_LANES} workers" in page


def test_the_name_of_a_worker_turns_no_text_of_a_chart(tmp_path: Path) -> None:
    run = answered(tmp_path / "a", toy_plan(4), lambda number: ("a\u202eb\x1b[2J<i>", 100.0 + number, 0.5))
    found = timeline_of(run / "journal.jsonl")
    assert found is not None
    chart = lanes_chart(found.whole, found.tasks, "one worker")
    assert "a\\u202eb\\x1b[2J&lt;i&gt;" in chart
    assert not set("\u202e\x1b") & set(chart)


def test_the_timeline_tells_tasks_apart_enlarges_the_end_and_what_shares_would_have_taken(
    tmp_path: Path,
) -> None:
    """Two workers: one has a sample of 30 s at the end, dealt shares would have put all slow ones on one of them."""
    with Journal.open(tmp_path / "j.jsonl", "r") as journal:
        clock = {"w0": 100.0, "w1": 100.0}
        for number in range(200):
            worker = min(clock, key=lambda name: clock[name])
            seconds = 30.0 if number == 199 else 2.0 if number % 2 else 1.0
            clock[worker] += seconds
            record = answer(RequestKey("big" if number < 150 else "small", f"{number:03}"), "x")
            journal.append(Record(replace(record.completion, seconds=seconds), worker, clock[worker], 1))
    timeline = timeline_of(tmp_path / "j.jsonl")
    assert timeline is not None
    assert timeline.tasks == ("big", "small")
    assert timeline.static_seconds == pytest.approx(99 * 2 + 30)
    assert timeline.whole.seconds == max(clock.values()) - 100
    assert timeline.tail is not None
    assert sum(timeline.tail.rate) == 5
    assert timeline.tail.begin + timeline.tail.seconds == pytest.approx(timeline.whole.seconds)
    assert timeline.efficiency == pytest.approx(328 / (2 * timeline.whole.seconds))
    first = timeline.whole.lanes[0].busy
    assert set(first[0]) == {"big"}
    assert "small" in first[180]
    assert {lane.worker: lane.answered for lane in timeline.tail.lanes}.keys() == {"w0", "w1"}


def test_every_shape_has_a_style() -> None:
    """A shape without one is black, in both themes."""
    source = Path(report_page.__file__).parent
    style = (source / "style.css").read_text("utf-8")
    files = [*source.glob("*.py"), *(source.parents[1] / "view").glob("*.py")]
    shape = re.compile(r'<(?:rect|line|circle|polyline|g) class="([a-z]+)')
    used = {name for file in files for name in shape.findall(file.read_text("utf-8"))}
    assert {"busy", "lost", "idle", "task", "rate", "run"} <= used
    assert not {name for name in used if not re.search(rf"\.{name}\d? ", style)}


def illustrated(count: int, pictures: int, folder: Path) -> PlannedTask:
    """Samples of which every `pictures`-th has the same picture."""
    for number in range(pictures):
        Image.new("RGB", (64, 48), (number % 256, 0, 0)).save(folder / f"{number}.png")
    samples = [
        replace(sample, images=(Media("image", path=str(folder / f"{number % pictures}.png")),))
        for number, sample in enumerate(toy_samples(count))
    ]
    return replace(toy_plan(0, source=ToySource(samples)), samples=samples)


def wanted(count: int, wrong_from: int) -> list[Wanted]:
    return [Wanted(number, "toy", str(number), number >= wrong_from) for number in range(count)]


def test_a_picture_that_many_samples_share_is_in_the_page_once(tmp_path: Path) -> None:
    """POPE asks eighteen questions about each image; copies made the file five times as large."""
    made = list(Pictures([illustrated(30, 5, tmp_path)]).thumbnails(wanted(30, 30)))
    assert sum(len(each.new) for each in made) == 5
    assert {each.row: each.numbers for each in made} == {number: [number % 5] for number in range(30)}


def test_pictures_that_do_not_fit_are_counted_and_wrong_answers_come_first(tmp_path: Path) -> None:
    pictures = Pictures([illustrated(200, 200, tmp_path)], budget=1)
    rows = [each.row for each in pictures.thumbnails(wanted(200, 100))]
    assert len(rows) + pictures.left_out == 200
    assert rows[:8] == [0, 100, 101, 102, 1, 103, 104, 105]
    late = Pictures([illustrated(10, 10, tmp_path)], seconds=0.0)
    assert list(late.thumbnails(wanted(10, 5))) == []
    assert late.left_out == 10


def test_a_picture_that_is_gone_costs_its_sample_the_picture_only(tmp_path: Path) -> None:
    plan = illustrated(3, 3, tmp_path)
    (tmp_path / "1.png").write_bytes(b"no picture")
    assert [each.numbers for each in Pictures([plan]).thumbnails(wanted(3, 3))] == [[0], [], [1]]


# -- in a browser

needs_chromium = pytest.mark.skipif(not is_installed(), reason="needs Debian's chromium-driver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def opened(browser: Chrome, page: Path, fragment: str = "") -> None:
    open_page(browser, page.as_uri() + fragment)


def press(browser: Chrome, key: str) -> None:
    ActionChains(browser).send_keys(key).perform()


def waited(browser: Chrome, script: str) -> Any:
    return wait_for(browser, script)


def found(browser: Chrome) -> str:
    return str(browser.execute_script("return document.getElementById('found').textContent"))


@needs_chromium
def test_in_a_browser_filters_keys_search_and_links(browser: Chrome, tmp_path: Path) -> None:
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
def test_in_a_browser_names_without_end_make_no_page_wider(browser: Chrome, tmp_path: Path) -> None:
    plan = toy_plan(20, name="t" * 150)
    runs = [
        made(tmp_path / name, wrong_from(number), plan, model=name * 200)
        for name, number in (("a", 20), ("b", 5))
    ]
    write_report(runs, tmp_path / "r.html")
    open_page(browser, (tmp_path / "r.html").as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0


@needs_chromium
def test_in_a_browser_nothing_hostile_runs(browser: Chrome, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    write_report([hostile(tmp_path / "a")], page)
    opened(browser, page)
    for number, payload in enumerate(PAYLOADS):
        press(browser, "j")
        waited(browser, f"document.querySelector('#detail h2')?.textContent.startsWith('toy / {number} ')")
        shown = browser.execute_script("return document.getElementById('detail').textContent")
        assert payload.replace("\r", "") in shown
    assert browser.execute_script("return window.hacked") is None
    assert console(browser) == []
