"""Every catalogued benchmark reads its published form, asks with its images, and gives right answers the full score.

Guards against task files that name columns which the dataset doesn't have, or map them to the wrong field: found by
users after the download of gigabytes, otherwise.
"""

from __future__ import annotations

import json
import re
import runpy
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

import muster
from api_servers import serving
from catalog_fixtures import Fixture, fixture_names, write_fixture
from judged_task import judge_at, judge_options
from muster.cli.app import app
from muster.core import Sample
from muster.judging.afterwards import PredictionsJudge
from muster.metrics.protocol import is_judged
from muster.results.predictions import score_predictions
from muster.results.results import MetricResult, TaskResults
from muster.tasks.checking import check_task
from muster.tasks.definition import Task
from muster.tasks.registry import groups, list_tasks, load_tasks
from muster.tasks.scoring_variants import scored_by
from muster.tasks.sources.data_folders import DataFolders
from processes import fake

BEST = {"0-1": 1.0, "percent": 100.0, "0-10": 10.0}
"""The full score by unit."""
SHIPPED_WITH_DATA = {name for name in (listing.name for listing in list_tasks()) if name.startswith("digits")}


@pytest.fixture
def data(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Fixture, Path]:
    (tmp_path / "data").mkdir()
    return write_fixture(request.param, tmp_path / "data"), tmp_path / "data"


tasks_with_data = pytest.mark.parametrize("data", fixture_names(), indirect=True)


def test_every_benchmark_has_a_fixture() -> None:
    """Other splits of the same file (`refcoco_testa`) are covered by one of them."""
    files = {listing.origin for listing in list_tasks() if listing.name in fixture_names()}
    without = [each.name for each in list_tasks() if each.origin not in files]
    assert set(without) <= SHIPPED_WITH_DATA
    assert set(fixture_names()) <= {listing.name for listing in list_tasks()}


def test_the_published_forms_run_through_the_whole_pipeline(tmp_path: Path) -> None:
    """All in one run: the model decodes the images of each prompt and says how many there were."""
    names = fixture_names()
    fixtures = [write_fixture(name, tmp_path / "data" / name) for name in names]
    verdicts = [verdict for fixture in fixtures for verdict in fixture.verdicts]
    data = [f"{name}={tmp_path / 'data' / name}" for name in names]
    output = tmp_path / "run"
    with serving(Fixture("all", {}, verdicts=verdicts).judge) as server:
        results = muster.evaluate(
            "looks",
            names,
            backend=fake("Looks"),
            data=data,
            output=output,
            engine="inline",
            judge="judge",
            judge_args={"base_url": server.url},
        )
    counts = {name: results.tasks[name].samples for name in names}
    assert all(each.succeeded + each.no_reference == each.requested >= 3 for each in counts.values()), counts
    answers = [json.loads(line) for line in (output / "journal.jsonl").read_text().splitlines()]
    texts = {
        (*each["completion"]["key"],): each["completion"]["text"] for each in answers if "completion" in each
    }
    for task in load_tasks(names, DataFolders.parse(data)):
        for sample in task.source.load():
            seen = texts[task.name, sample.id, 0]
            assert f"{len(sample.images)} images" in seen, (task.name, sample.id)
            assert f"{len(sample.videos)} videos" in seen, (task.name, sample.id)


@tasks_with_data
def test_right_answers_get_the_full_score(data: tuple[Fixture, Path], tmp_path: Path) -> None:
    fixture, folder = data
    [task] = load_tasks([fixture.task], DataFolders.parse([f"{fixture.task}={folder}"]))
    samples = task.source.load()
    file = tmp_path / "right.jsonl"
    right = [
        {"id": sample.id, "prediction": fixture.predictions.get(sample.id, sample.answer)}
        for sample in samples
    ]
    file.write_text("".join(json.dumps(each) + "\n" for each in right), encoding="utf-8")
    # Captions' other variants start Java; test_metrics_captions.py has them.
    scored = task if task.metric.info.name == "captions" else scored_by(task, ["all"])
    if fixture.verdicts:
        with serving(fixture.judge) as server:
            judge = PredictionsJudge(judge_at(server.url), tmp_path / "verdicts.jsonl", scored)
            results = score_predictions(scored, samples, file, ask=judge)
    else:
        results = score_predictions(scored, samples, file)
    for variant, primary in _headlines(task, results).items():
        if variant in fixture.below and fixture.below[variant] is None:
            assert primary is None, f"by {variant}"
            continue
        assert primary is not None, f"by {variant}"
        expected = fixture.below.get(variant, fixture.best or BEST.get(primary.unit))
        assert primary.value == pytest.approx(expected, abs=0.01), f"by {variant}"
    for key in task.by:
        assert "(none)" not in results.by[key], f"every sample has the metadata {key!r}"


def _headlines(task: Task, results: TaskResults) -> dict[str, MetricResult | None]:
    """The score that stands for the task, by the task's own variant and the others; None where nothing was scored."""
    others = {name: each.metrics.get(each.primary) for name, each in results.variants.items()}
    return {task.metric.info.variant: results.metrics[results.primary], **others}


@tasks_with_data
def test_check_finds_nothing_but_the_number_of_rows(data: tuple[Fixture, Path]) -> None:
    fixture, folder = data
    [task] = load_tasks([fixture.task], DataFolders.parse([f"{fixture.task}={folder}"]))
    report = check_task(task, None)
    assert all(
        "where the task file says `rows:" in problem or "md5" in problem for problem in report.problems
    )
    assert report.first is not None


def test_the_page_lists_the_catalogue_as_it_is() -> None:
    """docs/benchmarks.md; `python scripts/list_benchmarks.py` writes it again."""
    script = runpy.run_path(str(Path(__file__).parent.parent / "scripts" / "list_benchmarks.py"))
    text = script["PAGE"].read_text(encoding="utf-8")
    assert script["page"](text) == text


def test_what_the_page_says_is_not_here_is_not_here() -> None:
    """Guards against a page that goes on missing what has long been added, as it did of MathVision and of videos."""
    page = (Path(__file__).parent.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    table = page.partition("<!-- absent -->")[2].partition("<!-- end of absent -->")[0]
    named = [name for line in table.splitlines()[3:] for name in line.split("|")[1].split(",")]
    there = {_plain(name) for name in (*(each.name for each in list_tasks()), *groups())}
    assert len(named) > 20
    assert not {name.strip() for name in named if _plain(name) in there}
    for claim in ("no metric", "Not yet", "not here yet"):
        assert claim not in page


def test_the_groups_that_the_page_explains_are_there() -> None:
    page = (Path(__file__).parent.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    explained = page.partition("<!-- end of groups -->")[2].partition("\n## ")[0]
    names = set(re.findall(r"`([a-z_0-9]+)`", explained))
    assert names <= set(groups())
    assert {"core", "classic", "report2026", "report2026_video", "saturated", "judged"} <= names
    members = groups()
    assert set(members["core"]) <= set(members["report2026"])
    assert not set(members["saturated"]) & {*members["core"], *members["report2026"]}


def test_the_list_of_tasks_says_which_are_saturated_and_what_that_means() -> None:
    shown = CliRunner().invoke(app, ["tasks"], env={"COLUMNS": "250"}).stdout
    assert "\nsaturated: today's models are hardly told apart by it" in shown
    for name in groups()["saturated"]:
        [line] = [line for line in shown.splitlines() if line.strip("│ ").split()[:1] == [name]]
        assert "saturated" in line


def test_tasks_in_groups_by_ability_need_no_judge() -> None:
    """Without `--judge` such a group would have a mean of half of its answers."""
    kept_apart = {"judged", "report2026", "report2026_video", "charts"}
    for name, members in groups().items():
        for task in load_tasks(members) if name not in kept_apart else ():
            metric = task.metric
            assert not (is_judged(metric) and metric.judge_prompt is not None), (name, task.name)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


@tasks_with_data
def test_predictions_are_scored_from_files_alone(
    data: tuple[Fixture, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`muster score --task T --predictions P --samples S`, as users do who have no dataset and no network."""
    fixture, folder = data
    [task] = load_tasks([fixture.task], DataFolders.parse([f"{fixture.task}={folder}"]))
    samples = task.source.load()
    monkeypatch.setenv("MUSTER_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket, "create_connection", None)
    predictions, plain, each = (tmp_path / name for name in ("p.jsonl", "s.jsonl", "each.jsonl"))
    right = {sample.id: fixture.predictions.get(sample.id, sample.answer) for sample in samples}
    _write_lines(predictions, [{"id": name, "prediction": text} for name, text in right.items()])
    _write_lines(plain, [_without_images(sample) for sample in samples])
    files = ["--predictions", str(predictions), "--samples", str(plain), "--per-sample", str(each)]
    scoring = [] if task.metric.info.name == "captions" else ["--scoring", "all"]
    with ExitStack() as stack:
        judge = judge_options(stack.enter_context(serving(fixture.judge)).url) if fixture.verdicts else []
        done = CliRunner().invoke(app, ["score", "--task", fixture.task, *files, *scoring, *judge, "--json"])
    assert done.exit_code == 0, done.output
    results = json.loads(done.stdout)["tasks"][fixture.task]
    best = fixture.best or BEST.get(results["metrics"][results["primary"]]["unit"])
    expected = fixture.below.get(task.metric.info.variant, best)
    assert results["metrics"][results["primary"]]["value"] == pytest.approx(expected, abs=0.01)
    for key in task.by:
        assert "(none)" not in results["by"][key], f"every sample has the metadata {key!r}"
    assert len(each.read_text().splitlines()) == len(samples)


def _without_images(sample: Sample) -> dict[str, object]:
    given = {"choices": list(sample.choices), "answer": list(sample.answers)}
    present = {name: value for name, value in given.items() if value}
    return {"id": sample.id, "question": sample.question, **present, "metadata": dict(sample.metadata)}


def _write_lines(file: Path, rows: list[dict[str, object]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
