"""`muster view`: what it lists, what it lets nobody reach, and that it shows a run that goes on. Real sockets."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from selenium.webdriver import Chrome

from accessibility import findings, prefer
from muster.config import load_config
from muster.core import JSON, RequestKey
from muster.planning import plan
from muster.report.page.shell import asset, policy
from muster.results.folder import RunFolder
from muster.results.journal import Journal
from muster.results.manifest import Attempt, Manifest
from muster.view.answers import Answers
from muster.view.catalogue import Catalogue
from muster.view.discovery import Found
from muster.view.hosts import may_be_asked_as
from muster.view.page_cache import PageCache
from muster.view.selection import Query, matching, ordered
from muster.view.server import ViewServer
from muster.view.summary import Score, Summary, summarise
from muster.view.trends import step_of, trend
from processes import DEADLINE
from scripts.chromium import chromium, console, is_installed, open_page, wait_for
from test_compare import made, right, wrong_from
from test_report import elements, hostile, shard
from toy_task import answer, toy_plan


class Reply:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read().decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Viewer:
    def __init__(self, server: ViewServer) -> None:
        self.url = server.url
        self.port = server.server_address[1]

    def ask(self, target: str, method: str = "GET", **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        connection.putrequest(method, target, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        try:
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def raw(self, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def viewing(root: Path, scratch: Path) -> Iterator[Viewer]:
    scratch.mkdir(exist_ok=True)
    server = ViewServer("127.0.0.1", 0, Answers(Catalogue(root), PageCache(scratch)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Viewer(server)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def address(page: str, **fields: Any) -> str:
    return f"/{page}?{urlencode(fields, doseq=True)}"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series of checkpoints, and a run beside it; nothing changes them."""
    folder = tmp_path_factory.mktemp("viewed") / "runs"
    for step in (100, 200, 300):
        made(
            folder / "sft" / f"step-{step}",
            wrong_from(step // 10),
            toy_plan(60),
            model=f"out/checkpoint-{step}",
        )
    made(folder / "base", right, toy_plan(60), toy_plan(20, name="other"), model="org/base")
    return folder


@pytest.fixture(scope="module")
def viewer(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    with viewing(root, tmp_path_factory.mktemp("pages")) as served:
        yield served


def test_runs_are_listed_searched_and_sorted_and_the_json_says_the_same(viewer: Viewer) -> None:
    assert {each["name"] for each in viewer.ask("/index.json").json["runs"]} == {
        "base", "sft/step-100", "sft/step-200", "sft/step-300",
    }  # fmt: skip
    query = {"q": "SFT checkpoint", "task": "toy", "sort": "score", "order": "asc"}
    twin = viewer.ask(address("index.json", **query)).json
    names = [each["name"] for each in twin["runs"]]
    assert names == ["sft/step-100", "sft/step-200", "sft/step-300"]
    page = viewer.ask(address("", **query)).body
    places = [page.index(f">{name}<") for name in names]
    assert places == sorted(places)
    assert ">base<" not in page
    assert viewer.ask(address("index.json", task="other")).json["found"] == 1


def test_a_run_folder_can_be_viewed_itself(root: Path) -> None:
    assert [run.name for run in Catalogue(root / "base").runs()] == ["base"]
    assert Catalogue(root / "sft" / "step-100").run("step-100")[0].requested == 60


def test_every_page_has_a_json_twin(viewer: Viewer) -> None:
    several = {"run": ["base", "sft/step-100"]}
    for page, fields in (
        ("index", {}), ("run", {"run": "base"}), ("report", {"run": "base"}), ("compare", several), ("trends", {}),
    ):  # fmt: skip
        twin = viewer.ask(address(f"{page}.json", **fields))
        assert twin.status == 200
        assert twin.headers["Content-Type"] == "application/json"
        assert twin.json
        assert viewer.ask(address("" if page == "index" else page, **fields)).status == 200
    compared = viewer.ask(address("compare.json", **several, common="1")).json
    assert len(compared["tasks"][0]["differences"][0]["worse"]) == 50


def test_pages_come_with_the_policy_that_they_need_and_nothing_more(viewer: Viewer) -> None:
    for target, script in (("/", "view.js"), (address("report", run="base"), "script.js")):
        reply = viewer.ask(target)
        allowed = policy(asset(script), served=True)
        assert reply.headers["Content-Security-Policy"] == f"{allowed}; frame-ancestors 'none'"
        assert "unsafe" not in allowed
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        scripts = [attributes for tag, attributes in elements(reply.body) if tag == "script"]
        assert [each for each in scripts if each.get("type") != "application/x-muster"] == [{}]


def test_only_who_knows_the_servers_name_is_answered(viewer: Viewer) -> None:
    """A page of the attacker's whose name suddenly means 127.0.0.1 is as good as any local program without this."""
    for host in (
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "",
        "evil.example:8642",
        "[::1",
    ):
        assert viewer.ask("/index.json", Host=host).status == 421, host
    for host in ("localhost", f"localhost:{viewer.port}", "127.0.0.1", "127.8.8.8:1", "[::1]:80"):
        assert viewer.ask("/index.json", Host=host).status == 200, host
    assert b" 421 " in viewer.raw(b"GET / HTTP/1.1\r\n\r\n").split(b"\r\n")[0]
    assert b" 421 " in viewer.raw(b"GET / HTTP/1.0\r\n\r\n").split(b"\r\n")[0]
    twice = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert b" 421 " in viewer.raw(twice).split(b"\r\n")[0]
    old = viewer.raw(b"GET /index.json HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert json.loads(old.partition(b"\r\n\r\n")[2])["all"] == 4  # not in chunks, which HTTP/1.0 doesn't know


def test_on_a_network_addresses_are_names_and_strangers_names_are_not() -> None:
    assert may_be_asked_as("10.0.0.7:8642", "0.0.0.0")
    assert may_be_asked_as(socket.gethostname(), "0.0.0.0")
    assert may_be_asked_as("viewer.example", "viewer.example")
    assert not may_be_asked_as("evil.example", "0.0.0.0")
    assert not may_be_asked_as("10.0.0.7", "127.0.0.1")


def test_other_sites_may_link_here_and_not_embed(viewer: Viewer) -> None:
    cross = {"Sec_Fetch_Site": "cross-site"}
    assert viewer.ask("/", **cross, Sec_Fetch_Mode="no-cors").status == 403
    assert viewer.ask("/", **cross, Sec_Fetch_Mode="navigate").status == 200


def test_nothing_can_be_changed(viewer: Viewer) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        reply = viewer.ask(address("report", run="base"), method)
        assert reply.status == 405
        assert reply.headers["Allow"] == "GET, HEAD"
    head = viewer.ask("/", "HEAD")
    assert (head.status, head.body) == (200, "")


def test_no_address_leads_out_of_the_folder(tmp_path: Path, root: Path) -> None:
    """Neither dots, encoded or not, nor names of files, nor links of the file system."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    shutil.copytree(root / "base", inside / "good")
    shutil.copytree(root / "base", outside / "secret")
    (outside / "secret" / "results.json").write_text("top secret")
    (inside / "linked").symlink_to(outside / "secret")
    (inside / "half").mkdir()
    (inside / "half" / "manifest.json").symlink_to(outside / "secret" / "manifest.json")
    shutil.copytree(root / "base", inside / "answers")
    (inside / "answers" / "samples.parquet").unlink()
    (inside / "answers" / "samples.parquet").symlink_to(outside / "secret" / "samples.parquet")
    with viewing(inside, tmp_path / "pages") as viewer:
        assert [each["name"] for each in viewer.ask("/index.json?sort=run&order=asc").json["runs"]] == [
            "answers",
            "good",
        ]
        names = [
            "../outside/secret", "..%2foutside%2fsecret", "%2e%2e/outside/secret", str(outside / "secret"), "linked",
            "good/../../outside/secret", "half", "good\0", "",
        ]  # fmt: skip
        for name in names:
            for page in ("report", "run", "run.json", "compare", "compare.json"):
                reply = viewer.ask(f"/{page}?run={quote(name, safe='%')}")
                assert reply.status in (404, 409), (name, page)
                assert "top secret" not in reply.body
        for path in (
            "/../outside/secret/results.json",
            "/%2e%2e/outside",
            "//etc/passwd",
            "/good/results.json",
            "/static/",
        ):
            assert viewer.ask(path).status == 404, path
        refused = viewer.ask(address("report", run="answers"))
        assert refused.status == 409
        assert "leads out of" in refused.body


def test_hostile_names_stay_text_and_are_reached(tmp_path: Path, root: Path) -> None:
    names = ["<img src=x onerror=alert(1)>", "a\nb", "%2e%2e", "x\u202egnp", "&quot;><script>", "a..b", "ü ✓"]
    for name in names:
        shutil.copytree(root / "base", tmp_path / "runs" / name)
    shutil.copytree(root / "base", tmp_path / "runs" / os.fsdecode(b"raw\xff"))
    broken = tmp_path / "runs" / "broken"
    broken.mkdir()
    (broken / "manifest.json").write_text('{"run": "<script>alert(1)</script>", ')
    hostile(tmp_path / "runs" / "said")  # its model is called <b>m</b>
    with viewing(tmp_path / "runs", tmp_path / "pages") as viewer:
        for target in ("/?q=said", "/run?run=said", "/report?run=nobody<b>"):
            body = viewer.ask(quote(target, safe="/?=")).body
            assert "&lt;b&gt;" in body
            assert "<b>m" not in body
            assert "nobody<b>" not in body
        page = viewer.ask("/").body
        tags = elements(page)
        assert [attributes for tag, attributes in tags if tag == "script"] == [{}]
        assert not [tag for tag, _ in tags if tag == "img"]
        assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
        chosen = [
            attributes["value"]
            for tag, attributes in tags
            if tag == "input" and attributes["type"] == "checkbox"
        ]
        assert len(chosen) == len(names) + 3
        reached = [
            str(attributes["href"]) for tag, attributes in tags if "/report?" in str(attributes.get("href"))
        ]
        answered = {target: viewer.ask(target).status for target in reached}
        refused = [target for target, status in answered.items() if status != 200]
        assert sorted(refused) == ["/report?run=broken", "/report?run=raw%25FF"]  # Arrow reads no such path
        assert {answered[target] for target in refused} == {409}
        for value in chosen:
            expected = 409 if value == "broken" else 200
            assert viewer.ask(address("run.json", run=value)).status == expected, value
        assert "not readable" in page


def started(root: Path, requested: int) -> RunFolder:
    """A run that goes on: no end, no results."""
    plan = toy_plan(requested)
    folder = RunFolder(root)
    folder.create()
    manifest = Manifest.describe(
        run="r", model="org/m", backend="x", model_args={}, config={}, planned=[plan]
    ).with_attempt(Attempt(1.0, "local", 1))
    manifest.save(folder.manifest)
    return folder


def test_a_run_that_goes_on_is_shown_by_its_journal(tmp_path: Path) -> None:
    folder = started(tmp_path / "runs" / "now", 50)
    with (
        viewing(tmp_path / "runs", tmp_path / "pages") as viewer,
        Journal.open(folder.journal, "r") as journal,
    ):
        with folder.lock():
            for number in range(20):
                journal.append(answer(RequestKey("toy", str(number)), right(RequestKey("toy", str(number)))))
            journal.flush()
            listed = viewer.ask("/index.json").json["runs"][0]
            assert (listed["state"], listed["answered"], listed["requested"]) == ("running", 20, 50)
            page = viewer.ask(address("run", run="now")).body
            assert "20 of 50" in page
            assert 'data-every="2"' in page
            journal.append(answer(RequestKey("toy", "20"), "0"))
            journal.flush()
            assert viewer.ask("/index.json").json["runs"][0]["answered"] == 21
        assert viewer.ask("/index.json").json["runs"][0]["state"] == "interrupted"


def test_the_report_of_a_run_that_goes_on_has_the_answers_so_far(tmp_path: Path) -> None:
    """Scored for the page, with the pictures of the task; the folder stays as it is."""
    Image.new("RGB", (40, 30), "red").save(tmp_path / "i.png")
    rows = [{"id": str(n), "question": f"Number {n}?", "answer": "a", "images": ["i.png"]} for n in range(10)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.yaml").write_text("name: mine\nsource: {file: mine.jsonl}\nmetric: exact_match\n")
    config: dict[str, JSON] = {"model": "demo", "tasks": [str(tmp_path / "mine.yaml")]}
    planned = plan(load_config(config, env={}))
    folder = RunFolder(tmp_path / "runs" / "now")
    folder.create()
    Manifest.describe(
        run="r", model="demo", backend="x", model_args={}, config=config, planned=planned
    ).with_attempt(Attempt(1.0, "local", 1)).save(folder.manifest)
    with viewing(tmp_path / "runs", tmp_path / "pages") as viewer, folder.lock():
        for answered in (3, 5):
            with Journal.open(folder.journal, "r") as journal:
                for number in range(answered):
                    journal.append(answer(RequestKey("mine", str(number)), "a"))
            page = viewer.ask(address("report", run="now"))
            assert page.status == 200
            assert "its answers so far were scored for this" in page.body
            index = shard(page.body, "index")
            assert index["runs"][0]["score"] == [1.0] * answered + [None] * (10 - answered)
            assert index["rows"]["pictures"] == [[0]] * 10
    assert not folder.results.exists()


def test_files_are_read_again_only_where_they_have_changed(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of two thousand runs is looked at every few seconds."""
    shutil.copytree(root, tmp_path / "runs")
    read: list[str] = []

    def watched(found: Found) -> Any:
        read.append(found.name)
        return summarise(found)

    monkeypatch.setattr("muster.view.catalogue.summarise", watched)
    runs = Catalogue(tmp_path / "runs")
    assert len(runs.runs()) == 4
    assert len(read) == 4
    results = tmp_path / "runs" / "base" / "results.json"
    results.write_text(results.read_text().replace('"model": "org/base"', '"model": "org/base" '))
    shutil.rmtree(tmp_path / "runs" / "sft" / "step-100")
    assert len(runs.runs()) == 3
    assert read[4:] == ["base"]


def test_damaged_metadata_is_told_before_a_page_begins(tmp_path: Path) -> None:
    samples = made(tmp_path / "runs" / "a", right, toy_plan(3)) / "samples.parquet"
    table = pq.read_table(samples)
    damaged = pa.array(["[1]"] * 3)
    pq.write_table(table.set_column(table.column_names.index("metadata"), "metadata", damaged), samples)
    with viewing(tmp_path / "runs", tmp_path / "pages") as viewer:
        reply = viewer.ask(address("report", run="a"))
    assert (reply.status, "is no JSON object" in reply.body) == (409, True)


def test_other_samples_are_refused_with_a_link_to_the_common_ones(tmp_path: Path) -> None:
    made(tmp_path / "runs" / "a", right, toy_plan(30))
    made(tmp_path / "runs" / "b", right, toy_plan(20))
    with viewing(tmp_path / "runs", tmp_path / "pages") as viewer:
        refused = viewer.ask(address("compare", run=["a", "b"]))
        assert refused.status == 409
        links = [str(attributes["href"]) for tag, attributes in elements(refused.body) if tag == "a"]
        accepted = viewer.ask(links[0])
        assert accepted.status == 200
        assert "restricted to the 20 samples" in accepted.body


def test_a_report_is_made_once_and_again_when_its_files_change(tmp_path: Path) -> None:
    made_pages: list[int] = []
    cache = PageCache(tmp_path, most_bytes=10)

    def make() -> Iterator[str]:
        made_pages.append(len(made_pages))
        yield "page "
        yield str(made_pages[-1])

    assert b"".join(cache.page("a", 1, make)) == b"page 0"
    assert b"".join(cache.page("a", 1, make)) == b"page 0"
    assert b"".join(cache.page("a", 2, make)) == b"page 1"
    assert b"".join(cache.page("b", 1, make)) == b"page 2"
    assert len(list(tmp_path.iterdir())) == 1  # `a` was thrown out
    left = iter(cache.page("c", 1, make))
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert len(list(tmp_path.iterdir())) == 1
    assert b"".join(cache.page("c", 1, make)) == b"page 4"


def summary(name: str, *, model: str = "m", created: float = 0.0, value: float | None = 0.5) -> Summary:
    scores = {"t": Score("accuracy", value, None, None, "0-1")}
    return Summary(name, model, model, "complete", created, 10, 10, 0, scores, {})


@pytest.mark.parametrize(
    ("name", "model", "series", "number"),
    [
        ("evals/step-500", "x", "evals", 500),
        ("a", "out/checkpoint-3000", "out", 3000),
        ("a", "out/global_step_40", "out", 40),
        ("run-a/iter_0000100", "x", "run-a", 100),
        ("epoch3-lr", "x", "lr", 3),
        ("version-2", "qwen-7b", "", None),
        ("a", "qwen2.5-step1.5", "", None),
    ],
)
def test_steps_are_read_out_of_names(name: str, model: str, series: str, number: int | None) -> None:
    assert step_of(summary(name, model=model)) == (series, number)


def test_trends_go_by_step_in_series_or_by_start() -> None:
    runs = [summary(f"{s}/step-{n}", created=-n, value=n / 100) for s in "ab" for n in (30, 10, 20)]
    by_step = trend(runs, "t")
    assert by_step is not None
    assert {name: [point.x for point in points] for name, points in by_step.series.items()} == {
        "a": [10, 20, 30], "b": [10, 20, 30],
    }  # fmt: skip
    by_start = trend([*runs, summary("other", created=1.0)], "t")
    assert by_start is not None
    assert not by_start.by_step
    assert [point.x for point in by_start.series[""]] == [1, 2, 3, 4, 5, 6, 7]
    assert by_start.series[""][-1].run == "other"
    assert trend([summary("x", value=None)], "t") is None


def test_runs_without_a_score_come_last_in_both_directions() -> None:
    runs = [summary("a", value=None), summary("b", value=0.1), summary("c", value=0.9)]
    for descending, expected in ((True, ["c", "b", "a"]), (False, ["b", "c", "a"])):
        query = Query(sort="score", task="t", descending=descending)
        assert [run.name for run in ordered(matching(runs, query), query)] == expected
    odd = Query.of({"sort": ["nonsense"], "page": ["-1"], "q": []})
    assert (odd.sort, odd.page, odd.words) == ("started", 1, "")


def test_the_command_says_where_it_is_and_ends_by_ctrl_c(root: Path) -> None:
    """With the status of what SIGINT ends, and no traceback."""
    command = [sys.executable, "-m", "muster", "view", str(root), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split(" at ")[1].split(" ")[0]
            port = int(url.rstrip("/").rpartition(":")[2])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
            connection.request("GET", "/index.json")
            assert json.loads(connection.getresponse().read())["all"] == 4
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == 130
            assert process.stderr is not None
            assert process.stderr.read() == "muster: interrupted by SIGINT\n"
        finally:
            process.kill()


# -- in a browser

needs_chromium = pytest.mark.skipif(not is_installed(), reason="needs Debian's chromium-driver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@needs_chromium
def test_runs_are_chosen_across_searches_and_compared(browser: Chrome, viewer: Viewer) -> None:
    """The first chosen is the baseline, whatever the order of the list."""
    open_page(browser, f"{viewer.url}?q=step-300")
    browser.execute_script("document.querySelector('input[type=checkbox]').click()")
    open_page(browser, f"{viewer.url}?q=step-100")
    browser.execute_script("document.querySelector('input[type=checkbox]').click()")
    assert "sft/step-300, sft/step-100" in str(
        wait_for(browser, "document.getElementById('chosen').textContent")
    )
    browser.execute_script("document.querySelector('#basket button').click()")
    wait_for(browser, "location.pathname === '/compare' && document.documentElement.dataset.ready")
    told = browser.execute_script("return document.querySelector('header').textContent")
    assert "worse in 1 of 1 benchmark" in told
    assert console(browser) == []


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("target", ["?task=toy&sort=score", "trends?q=sft", "run?run=base", "run?run=none"])
def test_axe_finds_nothing(browser: Chrome, viewer: Viewer, target: str, scheme: str) -> None:
    prefer(browser, scheme)
    browser.get(viewer.url + target)
    browser.execute_script("document.querySelectorAll('summary').forEach((each) => each.click())")
    assert findings(browser) == []


@needs_chromium
def test_the_page_of_a_run_that_goes_on_follows_it(browser: Chrome, tmp_path: Path) -> None:
    folder = started(tmp_path / "runs" / "now", 50)
    with (
        viewing(tmp_path / "runs", tmp_path / "pages") as viewer,
        Journal.open(folder.journal, "r") as journal,
    ):
        with folder.lock():
            open_page(browser, f"{viewer.url}run?run=now")
            assert "0 of 50" in browser.execute_script(
                "return document.querySelector('.sentence').textContent"
            )
            journal.append(answer(RequestKey("toy", "1"), "1"))
            journal.flush()
            wait_for(browser, "document.querySelector('.sentence').textContent.includes('1 of 50')")
        wait_for(browser, "document.querySelector('.sentence').textContent.includes('interrupted')")
        assert browser.execute_script("return document.getElementById('live').dataset.every") is None
