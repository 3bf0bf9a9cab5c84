"""Samples without a reference answer are left unscored, and metrics that fail are told for what they are.

Guards against answers that count as wrong because nobody knows what is right, against "no answer" for an answer that
there is, and against scores that a metric gives and doesn't declare.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import muster
from muster.cli.app import app
from muster.core import JSON, ConfigurationError, MusterError, Sample
from muster.metrics.protocol import Score, ScoredSample
from muster.metrics.registry import build_metric, metric_names, metric_variants
from muster.results.answer_scoring import METRIC, NO_REFERENCE, Problem, score_text
from muster.results.results import Results
from muster.results.verdicts import VerdictBook
from muster.tasks.rehearsal import missing_references, rehearse
from processes import fake
from toy_task import ToyMetric, toy_plan, toy_samples

NOTHING = Sample("1", "?", choices=("a", "b"), metadata={"width": 8, "height": 8})


@pytest.mark.parametrize("name", metric_names())
def test_no_metric_scores_without_a_reference(name: str) -> None:
    for variant in metric_variants(name):
        outcome = score_text(build_metric(name, variant=variant), NOTHING, 0, "A", VerdictBook())
        assert isinstance(outcome, Problem)
        assert outcome.kind == NO_REFERENCE


def evaluate(folder: Path, rows: Sequence[dict[str, object]], metric: str, **more: object) -> Results:
    (folder / "t.jsonl").write_text("".join(json.dumps({"question": "?", **row}) + "\n" for row in rows))
    (folder / "t.yaml").write_text(f"name: t\nsource: {{file: t.jsonl}}\nmetric: {metric}\nby: [level]\n")
    given: dict[str, object] = {"backend": fake("Echo"), "output": folder / "run", "engine": "inline", **more}
    return muster.evaluate("echo", [str(folder / "t.yaml")], **given)


def test_they_are_counted_apart_in_scores_and_categories(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows: list[dict[str, object]] = [
        {"id": "a", "answer": "answer a", "level": 1},
        {"id": "b", "level": 1},
        {"id": "c", "answer": "x", "level": 2},
        {"id": "d", "answer": None, "level": 3},
    ]
    results = evaluate(tmp_path, rows, "exact_match", scoring="all")
    task = results.tasks["t"]
    assert task.metrics["accuracy"].value == 0.5
    assert task.metrics["accuracy"].n == 2
    assert (task.samples.succeeded, task.samples.no_reference, task.samples.errored) == (2, 2, 0)
    assert {level: each["accuracy"].n for level, each in task.by["level"].items()} == {"1": 1, "2": 1}
    assert all(each.samples is None or each.samples.no_reference == 2 for each in task.variants.values())
    assert results.complete
    assert results.exit_status(0) == 0
    assert "2 of 4 samples have no reference answer" in caplog.text
    shown = CliRunner().invoke(app, ["score", str(tmp_path / "run")])
    assert "t: 2 of 4 have no reference answer and are in no score" in shown.stdout
    assert "2 without reference" in shown.stdout


def test_a_task_with_none_says_so_before_the_model_loads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(MusterError):
        evaluate(tmp_path, [{"id": "a"}], "exact_match", backend=fake("Unloadable"))
    assert "none of its 1 samples has a reference answer" in caplog.text
    assert "samples.parquet" in caplog.text


def test_a_metric_of_one_s_own_may_need_none() -> None:
    class Short(ToyMetric):
        def has_reference(self, _sample: Sample) -> bool:
            return True

        def score(self, _sample: Sample, prediction: str) -> Score:
            return Score({"accuracy": float(len(prediction) < 5)})

    scored = score_text(Short(), NOTHING, 0, "A", VerdictBook())
    assert isinstance(scored, ScoredSample)
    assert missing_references(toy_plan(metric=Short()).task, [NOTHING]) is None


class Failing(ToyMetric):
    def score(self, sample: Sample, prediction: str) -> Score:
        return Score({"accuracy": 1 / (len(prediction) - len(prediction))})


def test_a_metric_that_fails_is_not_a_missing_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows: list[dict[str, object]] = [{"id": f"s{number}", "answer": "x"} for number in range(3)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"question": "?", **row}) + "\n" for row in rows))
    metric = f"{__name__}:Failing"
    (tmp_path / "t.yaml").write_text(f"name: t\nsource: {{file: t.jsonl}}\nmetric: {metric}\n")
    model = ["--model", "echo", "--backend", fake("Echo"), "--engine", "inline"]
    ran = CliRunner().invoke(app, ["run", *model, "--tasks", "t.yaml", "--output", "run"])
    assert ran.exit_code == 3
    assert "3 answers could not be scored" in ran.stderr
    assert "t: 3 × metric exact raised ZeroDivisionError" in ran.stderr
    assert "`muster score run`" in ran.stderr
    assert "no answer" not in ran.stderr
    assert "retries" not in ran.stderr
    assert "3 could not be scored" in ran.stdout
    assert "3 × metric: t: metric exact raised" in CliRunner().invoke(app, ["status", "run"]).stdout
    again = CliRunner().invoke(app, ["score", "run"])
    assert again.exit_code == 3
    assert "3 answers could not be scored" in again.stderr


class Undeclared(ToyMetric):
    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        return {**super().aggregate(rows), "other": 1.0}


class WithoutPrimary(ToyMetric):
    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        return {"squared": 1.0}


@pytest.mark.parametrize("metric", ["yes_no", "mme"])
def test_right_answers_that_are_no_verdict_are_none(metric: str) -> None:
    """Every answer to them was wrong, without a word."""
    parameters: dict[str, JSON] = {"group": "group", "category": "kind"} if metric == "mme" else {}
    built = build_metric(metric, parameters)
    about = {"group": "1", "kind": "x"}
    for answer, said in (("Yes.", "yes"), ("True", "yes"), ("0", "no"), ("n", "no")):
        scored = score_text(
            built, Sample("1", "q", answers=(answer,), metadata=about), 0, said, VerdictBook()
        )
        assert isinstance(scored, ScoredSample)
        assert scored.score.scores["accuracy"] == 1.0
    left = score_text(built, Sample("1", "q", answers=("cat",), metadata=about), 0, "yes", VerdictBook())
    assert isinstance(left, Problem)
    assert left.kind == NO_REFERENCE


@pytest.mark.parametrize(
    ("metric", "sample"),
    [
        ("vqa_accuracy", Sample("1", "q", answers=("x",))),
        ("grounding", Sample("1", "q", metadata={"bbox": [1, 2, 3], "width": 9, "height": 9})),
        ("grounding", Sample("1", "q", metadata={"bbox": [1, 2, 3, 4], "width": 9})),
        ("grounding", Sample("1", "q", metadata={"bbox": [1, 2, 3, 4], "width": 0, "height": 9})),
        ("grounding", Sample("1", "q", metadata={"bbox": [1, "x", 3, 4], "width": 9, "height": 9})),
    ],
)
def test_references_that_no_answer_could_meet_are_none(metric: str, sample: Sample) -> None:
    scored = score_text(build_metric(metric), sample, 0, "[1, 2, 3, 4]", VerdictBook())
    assert isinstance(scored, Problem)
    assert scored.kind == NO_REFERENCE


@pytest.mark.parametrize(
    "bbox", ["[10, 10, 50, 50]", "10 10 50 50", "10.0, 10, 50, 50", ["10", 10, 50, 50.0]]
)
def test_boxes_as_cells_of_a_table_hold_them(bbox: JSON) -> None:
    sample = Sample("1", "q", metadata={"bbox": bbox, "width": "1000", "height": "1000"})
    scored = score_text(build_metric("grounding"), sample, 0, "[10, 10, 50, 50]", VerdictBook())
    assert isinstance(scored, ScoredSample)
    assert scored.score.scores == {"accuracy": 1.0, "iou": 1.0}


class NoNumber(ToyMetric):
    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        return {**super().aggregate(rows), "accuracy": "high"}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (Score({"accuracy": math.nan}), "gave nan as the score 'accuracy', which is no finite number"),
        (Score({"accuracy": math.inf}), "gave inf as the score 'accuracy'"),
        (Score({"accuracy": None}), "gave None as the score 'accuracy'"),  # type: ignore[dict-item]
        (Score({"accuracy": "1"}), "gave '1' as the score 'accuracy'"),  # type: ignore[dict-item]
        (Score({"accuracy": 1.0}, ["a"]), "gave a list as what it read"),  # type: ignore[arg-type]
    ],
)
def test_a_score_that_is_no_number_is_that_answers_alone(score: Score, words: str) -> None:
    """It made the task's score undefined without a word, or ended in a traceback."""

    class Odd(ToyMetric):
        def score(self, sample: Sample, prediction: str) -> Score:
            return score

    scored = score_text(Odd(), toy_samples(1)[0], 0, "x", VerdictBook())
    assert isinstance(scored, Problem)
    assert scored.kind == METRIC
    assert words in scored.message


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (Undeclared(), "gave other, but"),
        (WithoutPrimary(), "no 'accuracy'"),
        (NoNumber(), "gave 'high' for 'accuracy', which is no number"),
    ],
)
def test_scores_that_are_not_declared_are_refused(metric: ToyMetric, words: str) -> None:
    samples = [replace(sample, answers=()) for sample in toy_samples(2)] + toy_samples(2, start=2)
    with pytest.raises(ConfigurationError, match=words):
        rehearse(metric, samples)
    rehearse(Failing(), samples)  # costs that sample its score, and not the run
    rehearse(ToyMetric(), samples)
