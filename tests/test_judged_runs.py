"""Runs with a judge, as users start them.

Guards against a judge that is asked only after the last answer, verdicts that are asked for again after a crash, scores
of answers that no judge has seen, and keys in the run folder.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

import muster
from api_servers import Answer, chat, error, serving
from judged_task import asked_about, judge_options, says, write_judged
from muster.cli import score
from muster.cli.app import app
from muster.config import load_config
from muster.core import ConfigurationError, MusterError
from muster.report.display import Silent
from muster.results.folder import RunFolder
from muster.results.journal_read import read_verdicts
from muster.results.results import JudgedBy, Results
from muster.results.status import read_status
from muster.run import run
from processes import DEADLINE, command_of, fake, launched, start, stop_for_good, write_benchmark

KEY = "a-key-that-must-not-be-seen"


def evaluate(output: Path, *tasks: Path, **options: object) -> Results:
    given: dict[str, object] = {"backend": fake("Echo"), "output": output, "engine": "inline", **options}
    return muster.evaluate("echo", [str(task) for task in tasks], **given)


def verdicts_in(folder: Path) -> int:
    return sum(1 for _ in read_verdicts(folder / "verdicts.jsonl"))


def options(task: Path, url: str, backend: str = "Echo", **args: object) -> list[str]:
    model = ["--model", "echo", "--backend", fake(backend), "--model-args", json.dumps(args)]
    return [*model, "--tasks", str(task), *judge_options(url, max_in_flight=2)]


@pytest.mark.parametrize("engine", [["--engine", "inline"], ["--replicas", "2"]], ids=["inline", "local"])
def test_verdicts_are_journalled_while_answers_are_outstanding(engine: list[str], tmp_path: Path) -> None:
    """The last answers are given when the first verdict is in the folder: without overlap they never are."""
    task, output, gate = write_judged(tmp_path, 12), tmp_path / "run", tmp_path / "gate"
    with serving(says({"s3": "1.0"})) as server:
        arguments = options(task, server.url, "LastAtGate", before=2, gate=str(gate))
        running = start(output, *arguments, *engine)
        running.until(lambda: verdicts_in(output), "a verdict")
        assert running.answered() < 12
        said_so_far = read_status(RunFolder(output)).judge
        assert said_so_far is not None
        assert (said_so_far.model, said_so_far.failures) == ("gpt-judge", 0)
        assert 1 <= said_so_far.verdicts < 12
        gate.touch()
        assert running.wait() == 0, running.stderr + running.logs()
        assert len(server.calls) == 12
    results = running.results().tasks["judged"]
    assert results.metrics["total"].value == pytest.approx(100 * (11 * 0.5 + 1) / 12)
    assert results.judge == JudgedBy("gpt-judge", "muster-mmvet/1")
    said = running.results().judge
    assert said is not None
    assert (said.model, said.usage["prompt_tokens"], said.usage["completion_tokens"]) == (
        "gpt-judge",
        132,
        36,
    )
    assert "judged by gpt-judge (muster-mmvet/1)" in running.stdout
    assert "132 tokens in, 36 out" in running.stdout


def test_a_killed_run_asks_no_judge_twice(tmp_path: Path) -> None:
    """kill -9 of the coordinator, while verdicts are on their way; the judge's process ends by itself."""
    task, output = write_judged(tmp_path, 16), tmp_path / "run"
    with serving(lambda call: Answer(hang=True) if call.number >= 4 else chat("0.5")) as server:
        running = start(output, *options(task, server.url))
        running.until(lambda: running.answered() == 16 and verdicts_in(output) == 4, "four verdicts")
        children = psutil.Process(running.process.pid).children(recursive=True)
        assert any("muster.judging.child" in command_of(child) for child in children)
        running.process.kill()
        running.process.communicate()
        _gone, alive = psutil.wait_procs(children, timeout=DEADLINE)
        assert not alive
        kept = {verdict.completion.key.sample_id for verdict in read_verdicts(output / "verdicts.jsonl")}
        assert len(kept) == 4
        server.script = says({})
        again = start(output, *options(task, server.url))
        assert again.wait() == 0, again.stderr
        calls = Counter(map(asked_about, server.calls))
        assert all(calls[sample] == 1 for sample in kept)
        assert len(server.calls) == 16 + 2, "two were under way"
    assert again.results().tasks["judged"].samples.succeeded == 16


def test_ctrl_c_keeps_the_verdicts_that_are_on_their_way(tmp_path: Path) -> None:
    task, output = write_judged(tmp_path, 40), tmp_path / "run"
    with serving(lambda _: Answer(chat("0.5").body, delay=0.2)) as server:
        running = start(output, *options(task, server.url))
        running.until(lambda: verdicts_in(output) >= 4, "four verdicts")
        running.process.send_signal(signal.SIGINT)
        assert running.wait() == 130, running.stderr
        assert verdicts_in(output) == len(server.calls) < 40
        assert "to go on" in running.stderr.lower()


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_without_a_judge_it_is_said_before_the_model_loads_what_will_be_unscored(tmp_path: Path) -> None:
    judged, plain, notes = write_judged(tmp_path, 3), write_benchmark(tmp_path, 3), Notes()
    config = load_config(
        {
            "model": "m",
            "tasks": str(judged),
            "backend": fake("Unloadable"),
            "engine": "inline",
            "output": tmp_path / "broken",
        }
    )
    with pytest.raises(MusterError, match="could not be loaded"):
        run(config, notes)
    assert any(
        "judged (official): answers that need a judge's verdict stay unscored" in line for line in notes.lines
    )
    results = evaluate(tmp_path / "run", judged, plain)
    assert results.tasks["echo"].metrics["accuracy"].value == 1.0
    counts = results.tasks["judged"].samples
    assert (counts.requested, counts.succeeded, counts.errors) == (3, 0, {"unscored": 3})
    assert results.tasks["judged"].metrics == {}
    assert results.tasks["judged"].judge == JudgedBy(None, "muster-mmvet/1")
    assert results.complete
    assert results.judge is None
    rows = pq.read_table(tmp_path / "run" / "samples.parquet").to_pylist()
    assert {row["error_kind"] for row in rows if row["task"] == "judged"} == {"unscored"}
    assert all("--judge MODEL" in row["error"] for row in rows if row["task"] == "judged")


def scored(folder: Path, **judge: Any) -> Results:
    score.command(run=folder, json=False, **judge)
    return Results.load(folder / "results.json")


def test_a_run_is_judged_later_and_by_another_judge_without_new_answers(tmp_path: Path) -> None:
    task, output = write_judged(tmp_path, 3), tmp_path / "run"
    evaluate(output, task)
    answers = (output / "journal.jsonl").read_bytes()
    with serving(says({}, "1.0")) as server, serving(says({}, "0.0")) as strict:
        first = scored(output, judge="gpt-judge", judge_args=f"base_url={server.url},price_input=1000000")
        assert first.tasks["judged"].metrics["total"].value == 100
        assert first.judge is not None
        assert first.judge.usage["cost"] == 33
        other = scored(output, judge="strict", judge_args=f"base_url={strict.url}")
        assert other.tasks["judged"].metrics["total"].value == 0
        assert other.tasks["judged"].judge == JudgedBy("strict", "muster-mmvet/1")
        assert scored(output) == other, "without --judge: whoever was asked last"
        back = scored(output, judge="gpt-judge", judge_args=f"base_url={server.url}")
        assert back.tasks == first.tasks
        resumed = evaluate(output, task, judge="gpt-judge", judge_args={"base_url": server.url})
        assert resumed.tasks == first.tasks
        assert (len(server.calls), len(strict.calls)) == (3, 3)
    assert (output / "journal.jsonl").read_bytes() == answers
    with pytest.raises(ConfigurationError, match="no server can be reached"):
        scored(output, judge="third", judge_args=f"base_url={server.url}")


def test_answers_that_a_judge_leaves_without_a_verdict_end_with_status_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loses its key after two verdicts. The answers stay, and so does the key's secrecy."""
    monkeypatch.setenv("PRIVATE", KEY)
    task, output = write_judged(tmp_path, 8), tmp_path / "run"
    quote = error(401, f"not with Authorization: Bearer {KEY}")
    with serving(lambda call: chat("1.0") if call.number < 2 else quote) as server:
        judge = judge_options(
            server.url.replace("http://", "http://ann:s3cret@"), api_key_env="PRIVATE", max_in_flight=1
        )
        model = ["--model", "echo", "--backend", fake("Echo"), "--tasks", str(task)]
        running = start(output, *model, *judge)
        assert running.wait() == 3, running.stderr
        assert all(call.headers["authorization"] == f"Bearer {KEY}" for call in server.calls)
    counts = running.results().tasks["judged"].samples
    assert (counts.succeeded, counts.errors) == (2, {"unscored": 6})
    assert running.results().tasks["judged"].metrics["total"].value == 100
    assert "gpt-judge can't be asked any more" in running.stderr
    assert "6 answers have no score" in running.stderr
    assert "6 unscored" in running.stdout
    said = [running.stdout.encode(), running.stderr.encode()]
    said += [file.read_bytes() for file in output.rglob("*") if file.is_file()]
    assert len(said) > 6
    for text in said:
        assert KEY.encode() not in text
        assert b"s3cret" not in text


def test_a_task_that_asks_nobody_starts_no_judge(tmp_path: Path) -> None:
    """Not even a wrong address matters."""
    results = evaluate(
        tmp_path / "run",
        write_benchmark(tmp_path, 2),
        judge="x",
        judge_args={"base_url": "http://127.0.0.1:1/v1"},
    )
    assert results.tasks["echo"].metrics["accuracy"].value == 1.0
    assert not (tmp_path / "run" / "verdicts.jsonl").exists()
    again = CliRunner().invoke(app, ["score", str(tmp_path / "run"), "--judge", "x"])
    assert again.exit_code == 0, again.output
    assert "no task here asks a judge, as it is scored (--scoring): x has nothing to do" in again.stderr
    assert "tokens" not in again.stdout


def test_conventions_with_and_without_a_judge_stand_side_by_side(tmp_path: Path) -> None:
    rows = [
        {"id": f"s{i}", "question": "Which?", "choices": ["a cat", "a dog"], "answer": "AB"[i % 2]}
        for i in range(4)
    ]
    (tmp_path / "choice.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = tmp_path / "choice.yaml"
    task.write_text("name: choice\nsource: {file: choice.jsonl}\nmetric: mmbench\n")
    with serving(lambda call: chat("A" if "answer s0" in call.text else "Z")) as server:
        results = evaluate(
            tmp_path / "run",
            task,
            scoring="vlmevalkit-judge,vlmevalkit",
            judge="j",
            judge_args={"base_url": server.url},
        ).tasks["choice"]
        assert len(server.calls) == 4
    assert results.metrics["accuracy"].value == 0.25
    assert results.judge == JudgedBy("j", "muster-option_matching/1")
    assert results.variants["vlmevalkit"].metrics["accuracy"].value == 0
    assert results.variants["vlmevalkit"].judge is None


def test_predictions_made_elsewhere_are_judged_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_judged(tmp_path, 3)
    file = tmp_path / "predictions.jsonl"
    file.write_text(
        "".join(json.dumps({"id": f"s{i}", "prediction": f"answer s{i}"}) + "\n" for i in range(3))
    )

    def total(**more: Any) -> tuple[object, int]:
        try:
            score.command(task=str(task), predictions=file, json=True, **more)
            status = 0
        except typer.Exit as end:
            status = end.exit_code
        metrics = json.loads(capsys.readouterr().out)["tasks"]["judged"]["metrics"]
        return metrics.get("total", {}).get("value"), status

    assert total() == (None, 0)
    with serving(says({"s1": "babble"}, "1.0")) as server:
        judge = {
            "judge": "gpt-judge",
            "judge_args": f"base_url={server.url}",
            "per_sample": tmp_path / "each.jsonl",
        }
        assert total(**judge) == (100, 3), "one of three is unscored"
        assert total(**judge) == (100, 3)
        assert total() == (100, 0), "the verdicts are kept beside the predictions"
        assert len(server.calls) == 3
    each = [json.loads(line) for line in (tmp_path / "each.jsonl").read_text().splitlines()]
    assert "babble" in each[1]["error"]
    assert (tmp_path / "predictions.verdicts.jsonl").exists()


@pytest.mark.parametrize("answered_before", [False, True], ids=["late", "resumed"])
def test_ranks_are_let_go_while_only_the_judge_works(tmp_path: Path, answered_before: bool) -> None:
    """The second rank comes when all is answered, and the judge says nothing before it has ended.

    It used to wait for the verdicts, fail after the rendezvous time-out, and take the group with it.
    """
    task, output, verdicts_may_come = write_judged(tmp_path, 2), tmp_path / "run", Event()
    if answered_before:
        evaluate(output, task)
    with serving(lambda _: Answer(chat("1.0").body, hold=verdicts_may_come)) as server:
        arguments = [*options(task, server.url), "--rendezvous-timeout", "60"]
        running = start(output, *arguments, launcher=launched(2))
        running.until(lambda: 1 in running.ranks(), "the second rank")
        late = running.ranks()[1]
        if not answered_before:
            stop_for_good(late)
        running.until(lambda: running.answered() == 2 and len(server.calls) == 2, "the judge's turn")
        late.send_signal(signal.SIGCONT)
        running.until(lambda: 1 not in running.ranks(), "the second rank's end")
        assert not verdicts_in(output)
        verdicts_may_come.set()
        assert running.wait() == 0, running.stderr
    assert running.results().tasks["judged"].metrics["total"].value == 100
    assert "rank 0 has ended, and left nothing to do" in running.stderr
