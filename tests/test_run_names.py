"""What a run is called and where it is, breakdowns that are asked for, and a refused resume that can be read.

Guards against tables in which two checkpoints are both "model: colour", against runs whose folder nobody names, and
against one difference that is told once per task.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from muster.cli.app import app
from muster.config import load_config
from muster.core import ConfigurationError, Generation
from muster.result_files.reading import read_runs
from muster.results.manifest import Manifest, check_covered, check_resumable
from processes import fake
from toy_task import keys_of, toy_plan


def cli(*arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in arguments])
    if done.exit_code != code and done.exception is not None:
        raise done.exception
    return done.output


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rows = [
        {"id": name, "question": "?", "answer": f"answer {name}" if right else "x", "level": level}
        for name, level, right in (("a", 1, True), ("b", 1, False), ("c", "2 | <b>", True))
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "t.yaml").write_text("name: t\nsource: {file: t.jsonl}\nmetric: exact_match\n")
    return tmp_path / "t.yaml"


def run(task: Path, folder: Path, *options: str) -> str:
    given: list[str | Path] = [
        "--model",
        "colour",
        "--tasks",
        task,
        "--backend",
        fake("Echo"),
        "--engine",
        "inline",
    ]
    return cli("run", *given, "--output", folder, "--progress", "none", *options)


def test_a_run_has_a_name_and_says_where_it_is(task: Path, tmp_path: Path) -> None:
    said = run(task, tmp_path / "one", "--name", "step 3000", "--model-args", "api_key=secret,depth=3")
    assert "step 3000 (colour)" in said
    assert said.splitlines()[-1] == f"results in {tmp_path / 'one'}"
    results = json.loads((tmp_path / "one" / "results.json").read_text())
    assert (results["name"], results["model"]) == ("step 3000", "colour")
    assert results["model_args"] == {"api_key": "***", "depth": 3}
    run(task, tmp_path / "two")
    assert [each.label for each in read_runs([tmp_path / "one", tmp_path / "two"])] == ["step 3000", "colour"]
    assert "step 3000" in cli("status", tmp_path / "one")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[31m"])
def test_a_name_is_a_line_of_text(name: str) -> None:
    with pytest.raises(ConfigurationError, match="--name: must be a line of text"):
        load_config({"model": "m", "tasks": "t", "name": name}, env={})


def test_scores_by_any_field_of_the_metadata(task: Path, tmp_path: Path) -> None:
    run(task, tmp_path / "run")
    assert "0.5000" in cli("score", tmp_path / "run", "--by", "level")
    rows = list(csv.DictReader(io.StringIO(cli("score", tmp_path / "run", "--by", "level", "--csv"))))
    found = [(row["by"], row["category"], row["value"], row["n"]) for row in rows]
    assert found == [("level", "1", "0.5", "2"), ("level", "2 | <b>", "1.0", "1")]
    table = cli("score", tmp_path / "run", "--by", "level", "--markdown").splitlines()
    assert table[0].startswith("| task | category | metric |")
    assert table[3].startswith(r"| t | 2 \| &lt;b> | accuracy | 1.0000 |")
    whole = cli("score", tmp_path / "run", "--markdown")
    assert "| t | accuracy | 0.6667 |" in whole
    with pytest.raises(ConfigurationError, match=r"--by levle: no sample has it.*did you mean.*level"):
        cli("score", tmp_path / "run", "--by", "levle")
    with pytest.raises(ConfigurationError, match="--json, --markdown and --csv: give one"):
        cli("score", tmp_path / "run", "--csv", "--json")


def test_one_difference_is_told_once_whatever_the_number_of_tasks() -> None:
    def manifest(tokens: int, count: int, data: str = "d") -> Manifest:
        planned = [
            replace(toy_plan(2, name=f"t{number}"), generation=Generation(max_new_tokens=tokens))
            for number in range(count)
        ]
        told = Manifest.describe(run="r", model="m", backend="x", model_args={}, config={}, planned=planned)
        tasks = {
            name: replace(entry, fingerprint=entry.fingerprint | {"data": f"{data} of {name}"})
            for name, entry in told.tasks.items()
        }
        return replace(told, tasks=tasks)

    def refusal(old: Manifest, new: Manifest) -> list[str]:
        with pytest.raises(ConfigurationError) as refused:
            check_resumable(old, new)
        return str(refused.value).splitlines()[1:-1]

    assert refusal(manifest(8, 1), manifest(9, 1)) == ["  tasks.t0.generation.max_new_tokens: 8 → 9"]
    assert refusal(manifest(8, 81), manifest(9, 81)) == [
        "  tasks.t0.generation.max_new_tokens: 8 → 9, as in t1, t2, t3 and 77 more tasks"
    ]
    assert refusal(manifest(8, 81), manifest(8, 81, "e")) == [
        "  tasks.t0.data: d of t0 → e of t0, and other values in t1, t2, t3 and 77 more tasks"
    ]
    [dropped] = refusal(manifest(8, 81), manifest(8, 1))
    assert dropped.startswith("  tasks.t1: was asked, and is not asked now")
    assert dropped.endswith("as in t2, t3, t4 and 76 more tasks")


def test_answers_that_nobody_asks_for_are_told_in_a_few_lines() -> None:
    keys = [key for number in range(81) for key in keys_of(toy_plan(2, name=f"t{number}"))]
    with pytest.raises(ConfigurationError) as refused:
        check_covered(keys, [])
    assert len(str(refused.value).splitlines()) < 10
    assert "77 other tasks" in str(refused.value) or "78 other tasks" in str(refused.value)
