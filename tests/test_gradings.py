"""Several gradings of an answer, and verdicts that were recorded elsewhere.

Guards against gradings that are asked again when there are more of them, and grades that end up on another answer.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import muster
from api_servers import Call, chat, serving
from judged_task import asked_about, judge_at, write_judged
from muster.cli.app import app
from muster.core import ConfigurationError
from muster.results.journal_read import read_verdicts
from muster.results.results import Results
from processes import fake


def evaluate(folder: Path, task: Path, **options: object) -> Results:
    given: dict[str, object] = {
        "backend": fake("Echo"),
        "output": folder / "run",
        "engine": "inline",
        **options,
    }
    return muster.evaluate("echo", [str(task)], **given)


def total(folder: Path, *options: str) -> float | None:
    done = CliRunner().invoke(app, ["score", str(folder / "run"), "--json", *options])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["tasks"]["judged"]["metrics"]["total"]["value"]  # type: ignore[no-any-return]


def test_the_score_is_the_mean_of_the_gradings(tmp_path: Path) -> None:
    said = {"s0": iter(("0.2", "0.4", "0.9")), "s1": iter(("1.0", "no idea", "0.5"))}
    task = write_judged(tmp_path, 2)

    def script(call: Call) -> object:
        return chat(next(said[asked_about(call)]))

    with serving(script) as server:  # type: ignore[arg-type]
        args = {"base_url": server.url, "temperature": 0.7}
        evaluate(tmp_path, task, judge="j", judge_args={**args, "gradings": 1})
        assert len(server.calls) == 2
        results = evaluate(tmp_path, task, judge="j", judge_args={**args, "gradings": 3})
        assert len(server.calls) == 6  # the first ones are kept
    assert results.tasks["judged"].metrics["total"].value == pytest.approx(
        100 * ((0.2 + 0.4 + 0.9) / 3 + 0.75) / 2
    )
    assert total(tmp_path) == pytest.approx(62.5)  # without a judge: all that there are


def test_several_gradings_want_a_temperature() -> None:
    with pytest.raises(ConfigurationError, match="give a temperature too"):
        judge_at("http://127.0.0.1:1/v1", gradings=3)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_recorded_verdicts_are_taken_over(tmp_path: Path, form: str) -> None:
    task = write_judged(tmp_path, 3)
    unscored = evaluate(tmp_path, task).tasks["judged"].samples
    assert unscored.unscored == 3
    rows = [("s0", "0.5"), ("s1", "1.0"), ("s1", "0.0")]
    grades = tmp_path / f"grades.{form}"
    if form == "csv":
        grades.write_text("id,verdict\n" + "".join(f"{name},{verdict}\n" for name, verdict in rows))
    else:
        grades.write_text(
            "".join(json.dumps({"id": name, "verdict": verdict}) + "\n" for name, verdict in rows)
        )
    assert total(tmp_path, "--import-verdicts", str(grades)) == 50.0
    assert total(tmp_path) == 50.0
    results = Results.load(tmp_path / "run" / "results.json").tasks["judged"]
    assert results.judge is not None
    assert results.judge.model == f"recorded in {grades.name}"
    assert (results.samples.succeeded, results.samples.unscored) == (2, 1)
    grades.write_text(grades.read_text().replace("0.5", "1.0"))
    assert total(tmp_path, "--import-verdicts", str(grades)) == 75.0  # mended grades replace them


def test_recorded_verdicts_on_predictions(tmp_path: Path) -> None:
    task = write_judged(tmp_path, 2)
    (tmp_path / "p.jsonl").write_text("".join(f'{{"id": "s{n}", "prediction": "x{n}"}}\n' for n in range(2)))
    (tmp_path / "g.jsonl").write_text('{"id": "s0", "verdict": 1}\n{"id": "s1", "verdict": "0.0"}\n')
    files = ["--task", str(task), "--predictions", str(tmp_path / "p.jsonl")]
    done = CliRunner().invoke(
        app, ["score", *files, "--import-verdicts", str(tmp_path / "g.jsonl"), "--json"]
    )
    assert json.loads(done.stdout)["tasks"]["judged"]["metrics"]["total"]["value"] == 50.0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,verdict\ns9,1\n", "verdicts on answers that there aren't: 's9'"),
        ("id,grade\ns0,1\n", "has an `id` and a `verdict`"),
        ("id,verdict,repeat\ns0,1,x\n", "repeat: 'x'"),
    ],
)
def test_recorded_verdicts_that_fit_nothing(tmp_path: Path, content: str, words: str) -> None:
    evaluate(tmp_path, write_judged(tmp_path, 1))
    (tmp_path / "g.csv").write_text(content)
    done = CliRunner().invoke(
        app, ["score", str(tmp_path / "run"), "--import-verdicts", str(tmp_path / "g.csv")]
    )
    assert isinstance(done.exception, ConfigurationError)
    assert words in str(done.exception)
    journal = tmp_path / "run" / "verdicts.jsonl"
    assert not journal.exists() or not list(read_verdicts(journal))
