"""`muster explain` must not blame the wrong thing: two numbers that agree may hide two errors that cancel."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from muster.cli.app import app
from muster.compare.settings import SettingDifference
from muster.config import load_config
from muster.core import ConfigurationError, RequestKey
from muster.explain.explanation import SAMPLES, Explanation, Factor, explain
from muster.explain.shapley import share
from muster.explain.sides import parse_side, read_side
from muster.explain.steps import step_between
from muster.planning import plan
from muster.results.folder import RunFolder
from muster.results.journal import Journal
from muster.results.manifest import Manifest
from toy_task import answer

LETTERS = {str(number): "AB"[number % 2] for number in range(20)}
"""The right ones."""


def task_file(folder: Path) -> Path:
    """Twenty questions with two choices, in two wordings."""
    rows = [
        {"id": id_, "question": "Which?", "choices": ["cat", "dog"], "answer": letter}
        for id_, letter in LETTERS.items()
    ]
    (folder / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "toy.yaml"
    path.write_text(
        "name: toy\nsource: {file: toy.jsonl}\nmetric: multiple_choice\n"
        'prompt:\n  template: "{{ question }} {{ choice_lines }}"\n'
        '  variants:\n    open:\n      template: "{{ question }}"\n'
    )
    return path


def run_of(folder: Path, name: str, texts: dict[str, str], **options: object) -> Path:
    """A run folder with these answers, as `muster run` leaves it."""
    path = folder / "toy.yaml"
    config = load_config(
        {"model": "m", "tasks": str(path if path.exists() else task_file(folder)), **options}, env={}
    )
    planned = plan(config)
    run = RunFolder(folder / name)
    run.create()
    with Journal.open(run.journal, name) as journal:
        journal.append_many(answer(RequestKey("toy", id_), text) for id_, text in texts.items())
    kept = json.loads(config.model_dump_json(exclude_none=True))
    manifest = Manifest.describe(
        run=name, model="m", backend="x", model_args={}, config=kept, planned=planned
    )
    manifest.save(run.manifest)
    return run.root


def explained(a: str | Path, b: str | Path, *via: Path) -> Explanation:
    first, last = read_side(parse_side(str(a))), read_side(parse_side(str(b)))
    (found,) = explain(first, last, [read_side(parse_side(str(each))) for each in via])
    return found


def factor(explanation: Explanation, name: str) -> Factor:
    return next(each for each in explanation.factors if each.name == name)


def words() -> dict[str, str]:
    """Right answers that only a lenient variant can read: `dog`, not `B`."""
    return {id_: {"A": "cat", "B": "dog"}[letter] for id_, letter in LETTERS.items()}


def test_two_errors_that_cancel_are_both_named(tmp_path: Path) -> None:
    """Equal numbers: the prompt costs all answers their letter, and the other variant reads words."""
    letters, open_ = run_of(tmp_path, "a", LETTERS), run_of(tmp_path, "b", words(), prompt_variant="open")
    found = explained(f"{letters}@lmms-eval", f"{open_}@vlmevalkit")
    assert (found.a, found.b, found.pairs, found.unscored) == (1.0, 1.0, 20, 0)
    prompt = factor(found, "answers: prompt")
    reading = factor(found, "answer extraction")
    assert prompt.alone < -0.4
    assert prompt.last == 0.0
    assert prompt.share == pytest.approx(-reading.share)
    assert reading.share > 0.2
    assert any("tasks.toy.prompt" in line for line in prompt.details)
    assert prompt.interval is not None
    assert prompt.interval[0] <= prompt.share < prompt.interval[1]


def test_the_shares_add_up_to_the_gap(tmp_path: Path) -> None:
    """Also where the factors interact, a run is in between, and samples are missing."""
    half = {id_: text for id_, text in words().items() if int(id_) < 10} | {
        id_: text for id_, text in LETTERS.items() if int(id_) >= 10
    }
    del half["19"]
    wrong = dict.fromkeys(LETTERS, "A")
    a = run_of(tmp_path, "a", LETTERS)
    via = run_of(tmp_path, "v", wrong, max_new_tokens=7)
    b = run_of(tmp_path, "b", half, max_new_tokens=7, prompt_variant="open")
    found = explained(f"{a}@lmms-eval", f"{b}@vlmevalkit", via)
    assert sum(each.share for each in found.factors) == pytest.approx(found.gap)
    steps = [each.name for each in found.factors if each.name.startswith("answers")]
    assert sorted(steps) == ["answers: generation settings", "answers: prompt"]
    assert found.left_out == (1, 1, 0)
    assert factor(found, SAMPLES).changed is None


def test_one_run_by_two_variants_differs_in_its_rules_alone(tmp_path: Path) -> None:
    a = run_of(tmp_path, "a", words())
    found = explained(f"{a}@lmms-eval", f"{a}@vlmevalkit")
    assert found.gap > 0.4
    assert factor(found, "answer extraction").share == pytest.approx(found.gap)
    assert factor(found, "scoring").share == factor(found, "aggregation").share == 0.0
    assert not any(each.name.startswith("answers") for each in found.factors)
    assert explained(a, a).factors == ()


def test_the_command_prints_a_table_and_json_and_refuses_what_is_no_run(tmp_path: Path) -> None:
    a, b = run_of(tmp_path, "a", LETTERS), run_of(tmp_path, "b", words(), prompt_variant="open")
    shown = CliRunner().invoke(app, ["explain", str(a), str(b)])
    assert shown.exit_code == 0, shown.output
    assert "answers: prompt" in shown.output
    told = json.loads(CliRunner().invoke(app, ["explain", f"{a}@muster", str(b), "--json"]).output)
    assert told["tasks"][0]["task"] == "toy"
    assert told["runs"][0].endswith("@ muster")
    with pytest.raises(ConfigurationError, match="no run folder"):
        parse_side(str(tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match="can't be scored so"):
        read_side(parse_side(f"{a}@internvlx"))


def test_shapley_shares_of_a_game_with_a_known_answer() -> None:
    """Two gloves: a left one and either of two right ones are worth 1 (shares 2/3, 1/6, 1/6)."""
    names = ("left", "right 1", "right 2")

    def value(owned: frozenset[str]) -> float:
        return float("left" in owned and len(owned) > 1)

    shares = [sum(weight * value(swapped) for swapped, weight in share(each, names)) for each in names]
    assert shares == pytest.approx([2 / 3, 1 / 6, 1 / 6])


def test_a_step_is_named_after_what_differs_and_software_only_where_nothing_else_does() -> None:
    packages = SettingDifference("packages.torch", ("2.11", "2.13"))
    pixels = SettingDifference("model.args.max_pixels", ("1", "2"))
    tokens = SettingDifference("tasks.*.generation.max_new_tokens", ("8", "16"))
    scoring = SettingDifference("tasks.toy.scoring", ("x", "y"))
    assert step_between([packages, tokens, pixels]).name == "image size, generation settings"
    assert step_between([packages]).name == "software"
    assert step_between([scoring]).name == "nothing recorded differs"
    lengths = [len(step_between(each).details) for each in ([tokens], [tokens, pixels])]
    assert all(one < other for one, other in pairwise(lengths))
