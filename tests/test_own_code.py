"""Code of the user's own, backends and metrics: found where it is, told once when wrong, known when it changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import muster
from muster.cli.app import app
from muster.config import load_config
from muster.coordinator.coordinator import Coordinator
from muster.coordinator.progress import Progress, TaskProgress
from muster.coordinator.snapshot import snapshot_of
from muster.coordinator.workload import Workload
from muster.core import Completion, ConfigurationError, Media, Sample
from muster.core.encoded import Encoded
from muster.metrics.protocol import Score, ScoredSample
from muster.metrics.registry import build_metric
from muster.planning import plan
from muster.report.live import summary
from muster.results.clusters import cluster_ids
from muster.results.fingerprint import differences
from muster.scheduling.queue import WorkQueue
from muster.tasks.registry import load_tasks
from processes import write_benchmark
from test_coordinator import Records

BACKEND = """
from muster.core import Completion
class Own:
    def __init__(self, settings):
        {init}
    def generate(self, requests):
        {generate}
"""
GOOD = "for request in requests: yield Completion(request.key, text='a')"


def write_backend(folder: Path, init: str = "pass", generate: str = GOOD) -> str:
    (folder / "own.py").write_text(BACKEND.format(init=init, generate=generate))
    return f"{folder}/own.py:Own"


def run(folder: Path, backend: str, *more: str) -> tuple[int, str]:
    task = write_benchmark(folder, 4)
    given = [
        "run",
        "--model",
        "m",
        "--backend",
        backend,
        "--tasks",
        str(task),
        "--output",
        str(folder / "run"),
    ]
    done = CliRunner().invoke(app, [*given, "--engine", "inline", "--progress", "plain", *more])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("generate", "words"),
    [
        ("for request in requests: yield 'a text'", "yielded a str, 'a text',"),
        ("for request in requests: yield None", "yielded nothing where a Completion"),
        ("for request in requests: yield {'text': 'x'}", "yielded a dict"),
        ("list(requests)", "returned nothing where a Completion"),
        ("for request in requests: yield Completion(request.key, 17)", "is no completion"),
    ],
)
def test_what_is_no_completion_ends_the_run_at_once(
    tmp_path: Path, generate: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    # It was tried six times, with the same traceback each time.
    code, output = run(tmp_path, write_backend(tmp_path, generate=generate))
    assert code == 1
    assert output.count(words) == 1
    assert "Traceback" not in caplog.text


def test_a_constructor_that_raises_shows_where(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code, output = run(tmp_path, write_backend(tmp_path, init="self.x = {}['missing']"))
    assert code == 1
    assert "the model could not be loaded: KeyError: 'missing'" in output
    assert caplog.text.count("Traceback") == 1
    assert "self.x = {}['missing']" in caplog.text


def test_one_traceback_for_one_mistake(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend = write_backend(tmp_path, generate="for request in requests: yield Completion(request.nothing)")
    code, _ = run(tmp_path, backend)
    assert code == 1
    assert caplog.text.count("Traceback") == 1
    assert "in the same way again" in caplog.text


def test_an_edited_backend_does_not_go_on_with_the_old_one_s_answers(tmp_path: Path) -> None:
    backend = write_backend(tmp_path)
    assert run(tmp_path, backend)[0] == 0
    assert run(tmp_path, backend)[0] == 0
    write_backend(tmp_path, generate=GOOD.replace("'a'", "'b'"))
    code, output = run(tmp_path, backend)
    assert code == 2
    assert "model.backend_code:" in output
    assert not differences({"a": 1}, {"a": 1, "backend_code": "x"})  # a folder that an older Muster began


def test_an_edited_task_in_python_is_another_task(tmp_path: Path) -> None:
    text = (
        "from muster.core import Sample\nfrom muster.metrics.registry import build_metric\n"
        "from muster.tasks.definition import Task\nfrom muster.tasks.prompts import TemplatePrompt\n"
        "class Source:\n    description = 'x'\n    def load(self): return [Sample('1', 'WHAT?', answers=('x',))]\n"
        "    def revision(self): return '1'\n"
        "def tasks(): return Task('own', 1, Source(), TemplatePrompt(), build_metric('exact_match'))\n"
    )
    (tmp_path / "own.py").write_text(text)
    given = {"backend": "fake_models:Echo", "output": tmp_path / "run", "engine": "inline"}
    muster.evaluate("m", [str(tmp_path / "own.py")], **given)
    (tmp_path / "own.py").write_text(text.replace("WHAT?", "WHO?"))
    with pytest.raises(ConfigurationError, match=r"tasks\.own\.code"):
        muster.evaluate("m", [str(tmp_path / "own.py")], **given)


# -- metrics

METRIC = """
from muster.metrics.protocol import MetricInfo, Score
{extra}
class Near:
    info = MetricInfo("{name}", "own", 1, "accuracy", {{"accuracy": "0-1"}}, {{"accuracy": "accuracy"}})
    def score(self, sample, prediction): return Score({{"accuracy": float(prediction == sample.answer)}})
    def aggregate(self, rows): return {{"accuracy": sum(r.score.scores["accuracy"] for r in rows) / len(rows)}}
"""


@pytest.mark.parametrize(
    "metric", ["near_metric:Near", "./near_metric.py:Near", "near_metric.py:Near", "parts.other:Near"]
)
def test_a_metric_beside_the_task_file(tmp_path: Path, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work, elsewhere = tmp_path / "task", tmp_path / "elsewhere"
    (work / "parts").mkdir(parents=True)
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (work / "near_helper.py").write_text("x = 1\n")
    (work / "near_metric.py").write_text(METRIC.format(extra="import near_helper", name="near"))
    (work / "parts" / "other.py").write_text(METRIC.format(extra="", name="near"))
    (work / "t.yaml").write_text(f"name: t\nsource: {{file: d.jsonl}}\nmetric: {{name: '{metric}'}}\n")
    [task] = load_tasks([str(work / "t.yaml")])
    assert task.metric.info.name == "near"


def test_two_task_files_have_a_metric_of_the_same_name_each(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "near_metric.py").write_text(METRIC.format(extra="", name=name))
        (tmp_path / name / "t.yaml").write_text(
            "name: t\nsource: {file: d.jsonl}\nmetric: near_metric:Near\n"
        )
        assert load_tasks([str(tmp_path / name / "t.yaml")])[0].metric.info.name == name


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("./gone.py:Near", "there is no such file in"),
        ("gone_module:Near", "there is no module 'gone_module'"),
        ("./broken_metric.py:Near", "ZeroDivisionError: division by zero"),
        ("broken_metric:Near", "ZeroDivisionError: division by zero"),
        ("./empty_metric.py:Near", "no attribute 'Near'"),
    ],
)
def test_a_metric_that_cannot_be_had_is_explained(tmp_path: Path, metric: str, words: str) -> None:
    (tmp_path / "broken_metric.py").write_text("1 / 0\n")
    (tmp_path / "empty_metric.py").write_text("\n")
    with pytest.raises(ConfigurationError) as caught:
        build_metric(metric, folder=tmp_path)
    assert words in str(caught.value)


# -- what else was told wrongly


def test_a_worker_that_was_still_loading_is_not_lost(tmp_path: Path) -> None:
    planned = plan(load_config({"model": "demo", "tasks": str(write_benchmark(tmp_path, 1))}, env={}))
    workload = Workload(planned)
    progress = Progress([TaskProgress("echo", 1)])
    coordinator = Coordinator(
        workload,
        WorkQueue(workload.items, replicas=2),
        Records(),
        progress,
        attempt=1,
        worker_timeout=10,
        request_timeout=10,
        load_timeout=10,
    )
    for rank in range(2):
        coordinator.join(f"worker-{rank}", rank, "here", 1, now=0)
    coordinator.ready("worker-0", 4, True, 0.0, now=0)
    [(index, request)] = coordinator.pull("worker-0", 4, idle=True, now=0).requests
    coordinator.answer("worker-0", [(index, Encoded.of(Completion(request.key, "x")))], now=1)
    assert coordinator.finished
    coordinator.lose("worker-1", "killed", now=2)
    said = summary(snapshot_of(progress, 2, 2, 1))
    assert "lost" not in said
    assert "1 not needed" in said


def test_images_are_known_by_their_content(tmp_path: Path) -> None:
    # Identical data had other intervals as parquet than as CSV.
    for name, content in (("a.png", b"one"), ("copy.png", b"one"), ("b.png", b"two"), ("long.png", b"three")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "pack.bin").write_bytes(b"xxtwo")
    media = [
        Media("image", path=str(tmp_path / "a.png")),
        Media("image", path=str(tmp_path / "copy.png")),
        Media("image", data=b"one"),
        Media("image", path=str(tmp_path / "b.png")),
        Media("image", data=b"two"),
        Media("image", path=str(tmp_path / "long.png")),
        Media("image", path=str(tmp_path / "gone.png")),
        Media("image", url="https://example.org/one.png"),
    ]
    rows = [
        ScoredSample(Sample(str(number), "?", images=(each,)), "", Score({"accuracy": 1.0}))
        for number, each in enumerate(media)
    ]
    ids = cluster_ids(rows)
    assert ids[0] == ids[1] == ids[2]
    assert ids[3] == ids[4]
    assert len(set(ids)) == 5
