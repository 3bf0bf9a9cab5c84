"""Scores depend on the answers alone: not on their order, on who gave them, or on interruptions."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.core import JSON, ConfigurationError, RequestKey, RunError, Sample
from muster.metrics.protocol import Score, ScoredSample
from muster.results import samples_table
from muster.results.folder import RunFolder
from muster.results.journal import Journal, Record
from muster.results.manifest import Manifest
from muster.results.results import Results
from muster.results.scoring import score_predictions, score_run
from muster.tasks.plan import PlannedTask
from toy_task import ToyMetric, answer, failure, keys_of, toy_plan, toy_samples


def prepared(root: Path, records: Sequence[Record], *planned: PlannedTask) -> tuple[RunFolder, Manifest]:
    folder = RunFolder(root / "run")
    folder.create()
    folder.journal.unlink(missing_ok=True)
    with Journal.open(folder.journal, "r1") as journal:
        journal.append_many(records)
    manifest = Manifest.describe(
        run="r1", model="org/m", backend="x", model_args={}, config={}, planned=planned
    )
    return folder, manifest


def scored(root: Path, records: Sequence[Record], *planned: PlannedTask) -> tuple[RunFolder, Results]:
    folder, manifest = prepared(root, records, *planned)
    return folder, score_run(folder, planned, manifest=manifest, timing={"wall_s": 2.0})


def right(key: RequestKey) -> str:
    return str(int(key.sample_id) % 10)


def rows_of(folder: RunFolder) -> list[dict[str, JSON]]:
    return cast("list[dict[str, JSON]]", pq.read_table(folder.samples).to_pylist())


def test_results_json_is_what_the_interface_says(tmp_path: Path) -> None:
    plan = toy_plan(6)
    keys = keys_of(plan)
    records = [answer(key, right(key)) for key in keys[:3]] + [answer(keys[3], "wrong"), failure(keys[4])]
    folder, results = scored(tmp_path, records, plan)
    written = json.loads(folder.results.read_text())
    assert written["schema"] == 1
    assert (written["run"], written["model"], written["complete"]) == ("r1", "org/m", False)
    assert written["timing"] == {"wall_s": 2.0}
    task = written["tasks"]["toy"]
    assert (task["version"], task["metric"], task["metric_variant"]) == (1, "exact", "muster")
    assert task["samples"] == {"requested": 6, "succeeded": 4, "errored": 1, "errors": {"sample": 1}}
    accuracy = task["metrics"]["accuracy"]
    assert (accuracy["value"], accuracy["unit"], accuracy["n"]) == (0.75, "0-1", 4)
    assert accuracy["ci95"][0] <= 0.75 <= accuracy["ci95"][1]
    assert task["metrics"]["squared"]["value"] == 0.5625
    assert task["by"]["category"]["even"]["accuracy"]["value"] == 1.0
    assert task["by"]["category"]["odd"]["accuracy"] | {"stderr": 0, "ci95": 0} == {
        "value": 0.5,
        "stderr": 0,
        "ci95": 0,
        "unit": "0-1",
        "n": 2,
    }
    assert Results.load(folder.results) == results
    assert results.tasks["toy"].samples.missing == 1


def test_samples_parquet_has_a_row_per_sample_and_repeat_in_task_order(tmp_path: Path) -> None:
    plan = toy_plan(2, repeats=2)
    other = toy_plan(1, name="other")
    keys = keys_of(plan)
    records = [
        answer(keys_of(other)[0], " 0", worker="rank1"),
        failure(keys[3], "cannot read 1.png"),
        answer(keys[1], "7"),
        answer(keys[0], "0"),
    ]
    folder, _ = scored(tmp_path, records, plan, other)
    rows = rows_of(folder)
    assert [(row["task"], row["id"], row["repeat"]) for row in rows] == [
        *(("toy", "0", 0), ("toy", "0", 1), ("toy", "1", 0), ("toy", "1", 1), ("other", "0", 0))
    ]
    assert rows[0] == {
        "task": "toy",
        "id": "0",
        "repeat": 0,
        "question": "Which digit does 0 end with?",
        "choices": ["a", "b"],
        "answers": ["0"],
        "prediction": "0",
        "final_answer": "0",
        "reasoning": None,
        "unfinished": False,
        "extracted": "0",
        "scores": {"accuracy": 1.0},
        "prompt_tokens": 5,
        "tokens": 1,
        "seconds": 0.25,
        "worker": "rank0",
        "finish_reason": "stop",
        "note": None,
        "error": None,
        "error_kind": None,
        "cluster": "sample:0",
        "metadata": '{"category":"even","n":0}',
        "media": [],
    }
    assert (rows[2]["error_kind"], rows[2]["scores"], rows[2]["worker"]) == ("missing", None, None)
    assert (rows[3]["error"], rows[3]["error_kind"]) == ("sample: SampleError: cannot read 1.png", "sample")
    assert (rows[3]["prediction"], rows[3]["worker"]) == (None, "rank0")
    assert (rows[4]["prediction"], rows[4]["extracted"], rows[4]["worker"]) == (" 0", "0", "rank1")


PLAN = toy_plan(8, repeats=2)
KEYS = keys_of(PLAN)
HISTORY = [
    *(failure(key, kind="replica") for key in KEYS[3:9]),
    *(answer(key, right(key) if index % 3 else "no") for index, key in enumerate(KEYS[:14])),
    *(answer(key, right(key) if index % 3 else "no", worker="late") for index, key in enumerate(KEYS[:5])),
    failure(KEYS[15]),
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(order=st.permutations(HISTORY), cuts=st.sets(st.integers(0, len(HISTORY)), max_size=3))
def test_scores_do_not_depend_on_order_workers_or_interruptions(
    tmp_path: Path, order: list[Record], cuts: set[int]
) -> None:
    reference_folder, _ = scored(tmp_path / "reference", HISTORY, PLAN)
    reference = (
        reference_folder.results.read_bytes(),
        [without_origin(row) for row in rows_of(reference_folder)],
    )

    folder, manifest = prepared(tmp_path / "shuffled", [], PLAN)
    for number, (start, stop) in enumerate(zip([0, *sorted(cuts)], [*sorted(cuts), len(order)], strict=True)):
        with Journal.open(folder.journal, "r1") as journal:
            journal.append_many(
                replace(each, worker=f"w{number}", attempt=number) for each in order[start:stop]
            )
        with folder.journal.open("ab") as torn:
            torn.write(b'{"completion":{"key":["toy","')
    score_run(folder, [PLAN], manifest=manifest, timing={"wall_s": 2.0})
    assert (folder.results.read_bytes(), [without_origin(row) for row in rows_of(folder)]) == reference


def without_origin(row: dict[str, JSON]) -> dict[str, JSON]:
    return {name: value for name, value in row.items() if name not in ("worker", "seconds")}


def test_scoring_again_keeps_the_timing_and_needs_nothing_but_the_folder(tmp_path: Path) -> None:
    records = [answer(key, right(key)) for key in keys_of(PLAN)]
    folder, manifest = prepared(tmp_path, records, PLAN)
    assert score_run(folder, [PLAN], manifest=manifest, timing=None).timing == {}
    score_run(folder, [PLAN], manifest=manifest, timing={"wall_s": 7.5, "tokens_per_s": math.inf})
    first = folder.results.read_bytes()
    again = score_run(folder, [PLAN], manifest=manifest, timing=None)
    assert again.timing == {"wall_s": 7.5, "tokens_per_s": None}
    assert again.complete
    assert folder.results.read_bytes() == first


def test_a_task_without_any_answer_has_no_scores(tmp_path: Path) -> None:
    plan = toy_plan(3)
    folder, results = scored(tmp_path, [failure(key) for key in keys_of(plan)], plan)
    assert results.complete
    assert results.errored == 3
    assert results.tasks["toy"].metrics == {}
    assert json.loads(folder.results.read_text())["tasks"]["toy"]["metrics"] == {}
    assert [row["scores"] for row in rows_of(folder)] == [None] * 3


def test_an_empty_benchmark_and_an_absent_journal(tmp_path: Path) -> None:
    plan = toy_plan(0)
    folder, manifest = prepared(tmp_path, [], plan)
    folder.journal.unlink()
    results = score_run(folder, [plan], manifest=manifest, timing={})
    assert results.complete
    assert results.tasks["toy"].samples.requested == 0
    assert rows_of(folder) == []


class OddMetric(ToyMetric):
    """Gives what JSON can't hold for one sample, and raises for another."""

    def score(self, sample: Sample, prediction: str) -> Score:
        if sample.id == "1":
            raise ValueError("no such letter")
        return Score({"accuracy": math.nan if sample.id == "2" else 1.0})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        return {"accuracy": math.nan, "squared": math.inf}


def test_nan_is_null_and_a_metric_that_raises_or_gives_nan_costs_that_sample(tmp_path: Path) -> None:
    plan = toy_plan(4, metric=OddMetric(), by=())
    folder, results = scored(tmp_path, [answer(key, "x") for key in keys_of(plan)], plan)
    task = json.loads(folder.results.read_text())["tasks"]["toy"]
    assert task["metrics"]["accuracy"]["value"] is None
    assert task["metrics"]["squared"]["value"] is None
    counts = {"requested": 4, "succeeded": 2, "errored": 2, "errors": {"metric": 2}}
    assert counts.items() <= task["samples"].items()
    assert task["samples"]["metric_failures"] == {
        "metric exact gave nan as the score 'accuracy', which is no finite number": 1,
        "metric exact raised ValueError: no such letter": 1,
    }
    assert Results.load(folder.results) == results
    rows = rows_of(folder)
    assert str(rows[2]["error"]).startswith("metric: metric exact gave nan")
    assert rows[1]["error"] == "metric: metric exact raised ValueError: no such letter"
    assert rows[1]["prediction"] == "x"


class BrokenMetric(ToyMetric):
    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        raise KeyError("category")


def test_a_broken_aggregate_names_the_metric_and_leaves_the_old_files(tmp_path: Path) -> None:
    plan = toy_plan(2)
    records = [answer(key, right(key)) for key in keys_of(plan)]
    folder, _ = scored(tmp_path, records, plan)
    before = folder.results.read_bytes(), folder.samples.read_bytes()
    with pytest.raises(RunError, match="metric exact of task toy failed on 2 answers: KeyError"):
        scored(tmp_path, records, toy_plan(2, metric=BrokenMetric()))
    assert (folder.results.read_bytes(), folder.samples.read_bytes()) == before
    assert sorted(path.name for path in folder.root.iterdir()) == [
        *("journal.jsonl", "logs", "results.json", "samples.parquet")
    ]


def test_texts_that_utf8_cannot_hold_are_written(tmp_path: Path) -> None:
    odd = Sample("\udcff", "half \ud83d", answers=("\ud83d",), metadata={"category": "\ud83d", "list": [1]})
    plan = replace(toy_plan(0), samples=[odd, Sample("2", "none of it", answers=("x",))])
    folder, results = scored(tmp_path, [answer(key, "\ud83d") for key in keys_of(plan)], plan)
    assert results.tasks["toy"].metrics["accuracy"].value == 0.5
    assert set(results.tasks["toy"].by["category"]) == {"\ufffd", "(none)"}
    assert Results.load(folder.results) == results
    assert [row["prediction"] for row in rows_of(folder)] == ["\ufffd", "\ufffd"]


def test_rows_are_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million texts are never in memory at once."""
    monkeypatch.setattr(samples_table, "ROW_GROUP", 64)
    plan = toy_plan(100)
    folder, _ = scored(tmp_path, [answer(key, right(key)) for key in keys_of(plan)], plan)
    file = pq.ParquetFile(folder.samples)
    assert [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)] == [64, 36]
    assert [row["id"] for row in rows_of(folder)] == [sample.id for sample in plan.samples]


def test_tasks_with_different_scores_share_the_table(tmp_path: Path) -> None:
    class Other(ToyMetric):
        def score(self, sample: Sample, prediction: str) -> Score:
            return Score({"accuracy": 1.0, "points": 2.0})

    plan, other = toy_plan(1), toy_plan(1, name="other", metric=Other())
    keys = keys_of(plan) + keys_of(other)
    folder, _ = scored(tmp_path, [answer(key, "0") for key in keys], plan, other)
    assert [row["scores"] for row in rows_of(folder)] == [
        {"accuracy": 1.0, "points": None},
        {"accuracy": 1.0, "points": 2.0},
    ]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"schema": 1}'])
def test_results_that_cannot_be_read_say_how_to_write_them(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match="muster score"):
        Results.load(path)


def test_predictions_made_elsewhere_get_the_score_of_a_run(tmp_path: Path) -> None:
    plan = toy_plan(6)
    texts = {sample.id: sample.answer if int(sample.id) < 4 else "no" for sample in plan.samples}
    file = tmp_path / "predictions.jsonl"
    lines = [json.dumps({"id": name, "prediction": text}) for name, text in texts.items()]
    file.write_text("\n".join([*reversed(lines), ""]))
    _, results = scored(tmp_path, [answer(key, texts[key.sample_id]) for key in keys_of(plan)], plan)
    assert score_predictions(plan.task, plan.samples, file, None) == results.tasks["toy"]


def test_missing_predictions_are_errors_and_per_sample_says_everything(tmp_path: Path) -> None:
    samples = toy_samples(4)
    file, per_sample = tmp_path / "predictions.jsonl", tmp_path / "scores.jsonl"
    file.write_text(
        '{"id": 0, "prediction": 0}\n\n{"id": "1", "prediction": " 9", "model": "x"}\n{"id": "2", "prediction": null}\n'
    )
    results = score_predictions(toy_plan().task, samples, file, per_sample)
    assert results.samples.errors == {"missing": 2}
    assert (results.samples.requested, results.samples.succeeded, results.samples.missing) == (4, 2, 0)
    assert results.metrics["accuracy"].value == 0.5
    assert [json.loads(line) for line in per_sample.read_text().splitlines()] == [
        {"id": "0", "extracted": "0", "scores": {"accuracy": 1.0}},
        {"id": "1", "extracted": "9", "scores": {"accuracy": 0.0}},
        {"id": "2", "extracted": None, "scores": {}, "error": "missing: no prediction"},
        {"id": "3", "extracted": None, "scores": {}, "error": "missing: no prediction"},
    ]


def test_repeats_of_predictions_are_scored_each(tmp_path: Path) -> None:
    file = tmp_path / "predictions.jsonl"
    file.write_text(
        '{"id": "0", "prediction": "0"}\n{"id": "0", "prediction": "5", "repeat": 1}\n{"id": "1", "prediction": "1"}\n'
    )
    results = score_predictions(toy_plan().task, toy_samples(2), file)
    assert (results.samples.requested, results.samples.errored) == (4, 1)
    assert results.metrics["accuracy"].n == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"id": "0", "prediction": "x"}', '{"id": "zebra", "prediction": "x"}'], r"'zebra' \(line 2\)"),
        (['{"id": "0", "prediction": "x"}', '{"id": 0, "prediction": "y"}'], r"'0' \(lines 1 and 2\)"),
        (["", '{"id": "0"}'], "line 2: .*`prediction`"),
        (['{"id": "0", "prediction": "x"'], "line 1: "),
        (['{"id": "0", "prediction": "x", "repeat": -1}'], "line 1: `repeat`"),
        (['{"id": "0", "prediction": "\xff"}'], "line 1: "),
        ([f'{{"id": "u{number}", "prediction": "x"}}' for number in range(9)], r"'u4' \(line 5\) and 4 more"),
    ],
)
def test_predictions_that_do_not_fit_are_refused_by_line(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    file = tmp_path / "predictions.jsonl"
    file.write_text("\n".join(lines), encoding="latin-1")
    with pytest.raises(ConfigurationError, match=message):
        score_predictions(toy_plan().task, toy_samples(3), file)


def test_a_predictions_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.jsonl"):
        score_predictions(toy_plan().task, toy_samples(3), tmp_path / "absent.jsonl")
