"""Every catalogued benchmark reads its published form, asks with its images, and gives right answers the full score.

Guards against task files that name columns which the dataset doesn't have, or map them to the wrong field: found by
users after the download of gigabytes, otherwise.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import muster
from catalog_fixtures import Fixture, fixture_names, write_fixture
from muster.results.predictions import score_predictions
from muster.tasks.checking import check_task
from muster.tasks.registry import list_tasks, load_tasks
from muster.tasks.sources.data_folders import DataFolders
from processes import fake

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


@tasks_with_data
def test_the_published_form_runs_through_the_whole_pipeline(
    data: tuple[Fixture, Path], tmp_path: Path
) -> None:
    fixture, folder = data
    results = muster.evaluate(
        "looks",
        [fixture.task],
        backend=fake("Looks"),
        data=[f"{fixture.task}={folder}"],
        output=tmp_path / "run",
        engine="inline",
    )
    counts = results.tasks[fixture.task].samples
    assert counts.errored == 0, counts.errors
    assert counts.succeeded == counts.requested >= 3
    journal = (tmp_path / "run" / "journal.jsonl").read_text()
    assert "1 images" in journal, "the model has decoded each prompt's image"


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
    results = score_predictions(task, samples, file)
    best = {"0-1": 1.0, "percent": 100.0}
    primary = results.metrics[results.primary]
    assert primary.value == pytest.approx(best[primary.unit])
    for key in task.by:
        assert "(none)" not in results.by[key], f"every sample has the metadata {key!r}"


@tasks_with_data
def test_check_finds_nothing_but_the_number_of_rows(data: tuple[Fixture, Path]) -> None:
    fixture, folder = data
    [task] = load_tasks([fixture.task], DataFolders.parse([f"{fixture.task}={folder}"]))
    report = check_task(task, None)
    assert all(
        "where the task file says `rows:" in problem or "md5" in problem for problem in report.problems
    )
    assert report.first is not None
