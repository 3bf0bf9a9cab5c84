"""`--scoring`: answers scored by several scoring variants, each told apart, none silently replaced by another."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from muster.cli.app import app
from muster.core import JSON, ConfigurationError, Sample
from muster.metrics.captions import tokens
from muster.metrics.protocol import Metric
from muster.metrics.registry import build_metric
from muster.report.terminal import results_table
from muster.results.folder import RunFolder
from muster.results.journal import Journal
from muster.results.manifest import Manifest
from muster.results.results import Results
from muster.results.scoring import score_predictions, score_run
from muster.tasks.definition import Task
from muster.tasks.plan import PlannedTask
from muster.tasks.scoring_variants import scored_by
from toy_task import answer, failure, keys_of, toy_plan


def planned(
    metric: Metric, samples: list[Sample], scoring: list[str] | None, name: str = "toy"
) -> PlannedTask:
    plan = toy_plan(metric=metric, name=name)
    return replace(plan, task=scored_by(plan.task, scoring), samples=samples)


def task_of(metric: Metric) -> Task:
    return toy_plan(metric=metric).task


def choice(number: int) -> Sample:
    return Sample(str(number), "?", choices=("cat", "dog"), answers=("B",), metadata={"category": "x"})


TEXTS = ["B", "The answer is b", "Cannot be told", "dog"]


def run_of(root: Path, plan: PlannedTask, texts: list[str]) -> tuple[RunFolder, Results]:
    folder = RunFolder(root / "run")
    folder.create()
    with Journal.open(folder.journal, "r1") as journal:
        journal.append_many(answer(key, text) for key, text in zip(keys_of(plan), texts, strict=False))
        journal.append_many(failure(key) for key in keys_of(plan)[len(texts) :])
    manifest = Manifest.describe(run="r1", model="m", backend="x", model_args={}, config={}, planned=[plan])
    return folder, score_run(folder, [plan], manifest=manifest, timing={})


def rows_of(folder: RunFolder) -> list[dict[str, JSON]]:
    return cast("list[dict[str, JSON]]", pq.read_table(folder.samples).to_pylist())


def test_every_variant_stands_beside_the_tasks_own(tmp_path: Path) -> None:
    plan = planned(build_metric("multiple_choice"), [choice(number) for number in range(5)], ["all"])
    folder, results = run_of(tmp_path, plan, TEXTS)
    task = results.tasks["toy"]
    assert task.metric_variant == "muster"
    assert list(task.variants) == ["lmms-eval", "vlmevalkit", "internvl"]
    values = {variant: each.metrics["accuracy"].value for variant, each in task.variants.items()}
    assert task.metrics["accuracy"].value == 0.75
    assert values == {"lmms-eval": 0.25, "vlmevalkit": 0.75, "internvl": 0.5}
    for each in task.variants.values():
        assert each.samples == task.samples  # an errored sample is one by every convention
        assert set(each.by["category"]) == {"x"}
        assert each.metrics["accuracy"].ci95 is not None
    assert Results.load(folder.results) == results
    rows = rows_of(folder)
    assert [row["extracted[lmms-eval]"] for row in rows] == ["B", None, "C", None, None]
    assert [row["scores[internvl]"] for row in rows] == [
        *({"accuracy": value} for value in (1.0, 0.0, 0.0, 1.0)),
        None,
    ]


def test_without_asking_there_is_one_variant(tmp_path: Path) -> None:
    plan = planned(build_metric("multiple_choice"), [choice(0)], None)
    folder, results = run_of(tmp_path, plan, ["B"])
    assert results.tasks["toy"].variants == {}
    assert not any("[" in name for name in rows_of(folder)[0])


def test_the_first_variant_asked_for_is_the_tasks() -> None:
    task = scored_by(task_of(build_metric("multiple_choice")), ["internvl", "lmms-eval", "internvl"])
    assert task.metric.info.variant == "internvl"
    assert [metric.info.variant for metric in task.also] == ["lmms-eval"]


def test_parameters_go_with_the_metric_into_its_variants() -> None:
    metric = build_metric("mme", {"group": "image", "official_categories": True})
    (other,) = scored_by(task_of(metric), ["muster", "internvl"]).also
    assert set(other.info.units) == set(metric.info.units)
    punctuation = build_metric("exact_match", {"ignore_punctuation": True})
    assert (
        len(scored_by(task_of(punctuation), ["all"]).also) == 3
    )  # what only `muster` has doesn't stop the others


@pytest.mark.parametrize(
    ("metric", "scoring", "message"),
    [
        ("multiple_choice", ["lmms_eval"], "did you mean 'lmms-eval'"),
        (
            "mmstar",
            ["internvl"],
            r"task toy can't be scored so: .*There are muster, official, lmms-eval, vlmevalkit",
        ),
        ("contains", ["vlmevalkit"], "--scoring all"),
        ("mmstar", ["all", "muster"], "stands alone"),
    ],
)
def test_a_variant_that_a_task_does_not_have_is_refused(
    metric: str, scoring: list[str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        scored_by(task_of(build_metric(metric)), scoring)


def test_a_third_party_metric_has_its_own_variant_only() -> None:
    task = toy_plan().task
    assert scored_by(task, ["all"]).also == ()
    assert scored_by(task, ["muster"]).metric is task.metric
    with pytest.raises(ConfigurationError, match="one scoring variant, 'muster', and no variant 'lmms-eval'"):
        scored_by(task, ["lmms-eval"])


def mathvista() -> Sample:
    return Sample("0", "?", answers=("3",), metadata={"question_type": "free_form", "answer_type": "integer"})


def test_what_needs_a_judge_is_unscored_and_told(tmp_path: Path) -> None:
    samples = [replace(mathvista(), id=str(number)) for number in range(2)]
    plan = planned(build_metric("mathvista"), samples, ["all"])
    folder, results = run_of(tmp_path, plan, ["3", "It is 3."])
    task = results.tasks["toy"]
    assert task.metrics["accuracy"].value == 1.0
    lmms = task.variants["lmms-eval"]
    assert lmms.samples is not None
    assert (lmms.samples.succeeded, lmms.samples.errors) == (1, {"unscored": 1})
    assert lmms.metrics["accuracy"].n == 1
    assert rows_of(folder)[1]["scores[lmms-eval]"] is None
    shown = shown_table(results)
    assert "toy, lmms-eval: 1 of 2 answers have a score (1 unscored)" in shown

    main = planned(build_metric("mathvista"), samples, ["lmms-eval"])
    folder, results = run_of(tmp_path / "main", main, ["3", "It is 3."])
    assert results.tasks["toy"].samples.errors == {"unscored": 1}
    assert "judge" in str(rows_of(folder)[1]["error"])


def shown_table(results: Results) -> str:
    output = io.StringIO()
    Console(file=output, width=200).print(results_table(results, 200))
    return output.getvalue()


def test_a_variant_that_cannot_score_here_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(tokens, "find_spec", lambda _: "there")
    samples = [Sample(str(number), "?", answers=(f"a red dog {number}",)) for number in range(3)]
    plan = planned(build_metric("captions"), samples, ["all"])
    folder, results = run_of(tmp_path, plan, ["A red dog 0", "a dog", "two cats"])
    task = results.tasks["toy"]
    assert task.metrics["cider"].value == pytest.approx(
        sum(cast("dict[str, float]", row["scores"])["cider"] for row in rows_of(folder)) / 3
    )
    assert task.variants["vlmevalkit"].metrics["cider_percent"].value is not None
    assert "needs Java" in str(task.variants["lmms-eval"].unavailable)
    assert task.variants["lmms-eval"].metrics == {}
    assert "toy, lmms-eval: captions, scoring variant lmms-eval, needs Java" in shown_table(results)
    with pytest.raises(
        ConfigurationError, match=r"task toy: .*needs Java"
    ):  # asked for by name: before the run
        planned(build_metric("captions"), samples, ["lmms-eval"])


def test_a_tokeniser_that_fails_costs_its_own_variant_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho one line only\necho out of memory >&2\nexit 3\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    pytest.importorskip("pycocoevalcap")
    samples = [Sample(str(number), "?", answers=(f"a red dog {number}",)) for number in range(3)]
    plan = planned(build_metric("captions"), samples, ["muster", "lmms-eval"])
    folder, results = run_of(tmp_path, plan, ["A red dog 0", "a dog", "two cats"])
    task = results.tasks["toy"]
    assert task.metrics["cider"].value is not None
    assert task.variants["lmms-eval"].metrics == {}
    assert task.variants["lmms-eval"].samples is not None
    assert task.variants["lmms-eval"].samples.errors == {"metric": 3}
    alone = planned(build_metric("captions"), samples, ["lmms-eval"])
    folder, results = run_of(tmp_path / "alone", alone, ["A red dog 0", "a dog", "two cats"])
    assert results.tasks["toy"].samples.errors == {"metric": 3}
    assert "exit status 3: out of memory" in str(rows_of(folder)[0]["error"])


def test_the_table_shows_variants_side_by_side(tmp_path: Path) -> None:
    samples = [choice(number) for number in range(4)]
    _, results = run_of(tmp_path, planned(build_metric("videomme"), samples, ["muster", "lmms-eval"]), TEXTS)
    lines = shown_table(results).splitlines()
    assert lines[1].split()[:4] == ["task", "metric", "value", "lmms-eval"]
    assert lines[3].split()[:4] == ["toy", "accuracy", "0.7500", "0.2500"]
    assert lines[4].split()[:3] == ["overall", "25.0", "percent"]  # what only lmms-eval prints


BENCHMARK = """
name: toy_choice
source: {file: samples.jsonl}
metric: multiple_choice
"""


def test_muster_score_takes_variants_for_runs_and_for_predictions(tmp_path: Path) -> None:
    rows = [{"id": str(n), "question": "?", "choices": ["cat", "dog"], "answer": "B"} for n in range(4)]
    (tmp_path / "samples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = tmp_path / "toy.yaml"
    task.write_text(BENCHMARK)
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text(
        "\n".join(json.dumps({"id": str(number), "prediction": text}) for number, text in enumerate(TEXTS))
    )
    each = tmp_path / "each.jsonl"
    command = ["score", "--task", str(task), "--predictions", str(predictions), "--json"]
    done = CliRunner().invoke(app, [*command, "--scoring", "all", "--per-sample", str(each)])
    assert done.exit_code == 0, done.output
    scores = json.loads(done.stdout)["tasks"]["toy_choice"]
    assert scores["metrics"]["accuracy"]["value"] == 0.75
    assert scores["variants"]["lmms-eval"]["metrics"]["accuracy"]["value"] == 0.25
    lines = [json.loads(line) for line in each.read_text().splitlines()]
    assert lines[2]["scores"] == {"accuracy": 0.0}
    assert lines[2]["variants"]["lmms-eval"] == {"extracted": "C", "scores": {"accuracy": 0.0}}

    done = CliRunner().invoke(app, [*command, "--scoring", "internvl"])
    scores = json.loads(done.stdout)["tasks"]["toy_choice"]
    assert (scores["metric_variant"], scores["metrics"]["accuracy"]["value"]) == ("internvl", 0.5)
    assert scores["variants"] == {}


def test_predictions_get_the_variants_of_a_run(tmp_path: Path) -> None:
    plan = planned(build_metric("multiple_choice"), [choice(number) for number in range(4)], ["all"])
    _, results = run_of(tmp_path, plan, TEXTS)
    file = tmp_path / "predictions.jsonl"
    file.write_text(
        "\n".join(json.dumps({"id": str(number), "prediction": text}) for number, text in enumerate(TEXTS))
    )
    assert score_predictions(plan.task, plan.samples, file) == results.tasks["toy"]
