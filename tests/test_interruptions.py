"""Signals and `--run-timeout` in every phase of a run: never lost, never taken for a metric's or a model's failure.

Guards against a pre-empted job that ends for good with a wrong score: an interruption was an `Exception`, which the
boundaries around other people's code made into a failed sample.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from api_servers import Answer, chat
from api_servers import serving as serving_judge
from forked import Ended, Forker
from judged_task import judge_options, write_judged
from muster.results.results import Results
from processes import DEADLINE, launched, start, until, write_benchmark
from web_server import serving as serving_files

HERE = Path(__file__).parent
PHASES = ["import", "tasks", "source", "prompt", "load", "generate", "live", "score", "aggregate"]
PHASES += ["write samples", "write results", "show"]
BEFORE_WORK = ["import", "tasks", "source", "prompt"]
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
WORK = ("generate", "live")
"""What is started is finished here; a second signal ends it."""


@pytest.fixture
def forker(tmp_path: Path) -> Forker:
    return Forker(tmp_path)


def words(folder: Path, engine: str, *more: str) -> list[str]:
    task, backend = HERE / "unruly.py", f"{HERE / 'unruly.py'}:Model"
    given = [
        "run",
        "--model",
        "x",
        "--backend",
        backend,
        "--tasks",
        str(task),
        "--output",
        str(folder / "run"),
    ]
    return [*given, "--engine", engine, "--progress", "none", *more]


def interrupted(forker: Forker, folder: Path, number: int, phase: str, what: str, engine: str) -> Ended:
    reached = folder / "reached"
    env = {"AT": phase, "WHAT": what, "REACHED": str(reached)}
    pid = forker.start(*words(folder, engine, "--replicas", "1"), env=env)
    wait_for(reached)
    os.kill(pid, number)
    if phase in WORK:
        time.sleep(0.1)  # two at once are one
        os.kill(pid, number)
    return forker.wait()


def wait_for(file: Path) -> None:
    until(file.exists)


def check_interrupted(ended: Ended, folder: Path, number: int, phase: str) -> None:
    assert ended.status == 128 + number, ended.said
    assert signal.Signals(number).name in ended.said
    assert "Traceback" not in ended.said
    assert (folder / "run" / "results.json").exists() == (phase == "show")
    if phase not in BEFORE_WORK:
        manifest = json.loads((folder / "run" / "manifest.json").read_text())
        assert manifest["attempts"][-1]["exit_status"] == (0 if phase == "show" else 128 + number)


@pytest.mark.parametrize("what", ["wait", "swallow"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_ends_every_phase(forker: Forker, tmp_path: Path, phase: str, what: str) -> None:
    """Also where a library takes every exception for its own."""
    number = random.Random(phase + what).choice(SIGNALS)
    ended = interrupted(forker, tmp_path, number, phase, what, "inline")
    check_interrupted(ended, tmp_path, number, phase)
    forker.start(*words(tmp_path, "inline"))
    again = forker.wait()
    assert again.status == 0, again.said
    results = Results.load(tmp_path / "run" / "results.json")
    assert results.complete
    assert results.tasks["unruly"].metrics["accuracy"].value == 1.0


@pytest.mark.parametrize("number", SIGNALS)
def test_every_kind_of_signal_ends_scoring(forker: Forker, tmp_path: Path, number: int) -> None:
    ended = interrupted(forker, tmp_path, number, "score", "wait", "inline")
    check_interrupted(ended, tmp_path, number, "score")
    assert "6 of 6 answers are kept" in ended.said


@pytest.mark.parametrize("phase", ["load", "generate", "live", "score"])
def test_a_signal_ends_every_phase_with_workers(forker: Forker, tmp_path: Path, phase: str) -> None:
    number = random.Random(phase).choice(SIGNALS)
    check_interrupted(interrupted(forker, tmp_path, number, phase, "wait", "local"), tmp_path, number, phase)


@pytest.mark.parametrize("what", ["wait", "swallow"])
@pytest.mark.parametrize("phase", ["tasks", "load", "score"])
def test_a_time_limit_ends_every_phase(forker: Forker, tmp_path: Path, phase: str, what: str) -> None:
    env = {"AT": phase, "WHAT": what, "REACHED": str(tmp_path / "reached")}
    forker.start(*words(tmp_path, "inline", "--run-timeout", "1"), env=env)
    ended = forker.wait()
    assert ended.status == 124, ended.said
    assert "stopped after 1 s (--run-timeout)" in ended.said
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_download(
    forker: Forker, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name.endswith("_OFFLINE")]:
        monkeypatch.delenv(name)
    asked, goes_on = threading.Event(), threading.Event()
    with serving_files({"/s.jsonl": b'{"question": "q", "answer": "answer 0"}\n'}) as site:

        def keep_waiting() -> None:
            asked.set()
            goes_on.wait(DEADLINE)

        site.on_request = keep_waiting
        task = tmp_path / "fetched.yaml"
        task.write_text(
            "name: fetched\nmetric: exact_match\nsource:\n  data: bench\n  file: s.jsonl\n"
            f"  downloads: [{{url: {site.url('/s.jsonl')}}}]\n"
        )
        given = words(tmp_path, "inline", "--data", str(tmp_path / "root"))
        given[given.index("--tasks") + 1] = str(task)
        pid = forker.start(*given)
        assert asked.wait(DEADLINE)
        os.kill(pid, number)
        ended = forker.wait()
        goes_on.set()
        check_interrupted(ended, tmp_path, number, "source")
        assert not (tmp_path / "root" / "bench" / "s.jsonl").exists()
        forker.start(*given)
        again = forker.wait()
    assert again.status == 0, again.said
    assert Results.load(tmp_path / "run" / "results.json").complete


def test_a_signal_ends_judging(forker: Forker, tmp_path: Path) -> None:
    """All is answered, and the judge answers no more: a second signal waits for it no longer."""
    task, number = write_judged(tmp_path, 4), signal.SIGTERM
    with serving_judge(lambda call: Answer(hang=True) if call.number >= 2 else chat("0.5")) as server:
        judge = judge_options(server.url, max_in_flight=1)
        given = words(tmp_path, "inline", *judge)
        given[given.index("--tasks") + 1] = str(task)
        given[given.index("--backend") + 1] = f"{HERE / 'fake_models.py'}:Echo"
        pid = forker.start(*given)
        until(lambda: len(server.calls) == 3)
        os.kill(pid, number)
        time.sleep(0.1)
        os.kill(pid, number)
        check_interrupted(forker.wait(), tmp_path, number, "judge")
        server.script = lambda _: chat("0.5")
        forker.start(*given)
        again = forker.wait()
        assert again.status == 0, again.said
    results = Results.load(tmp_path / "run" / "results.json")
    assert results.tasks["judged"].metrics["total"].value == pytest.approx(50)
    assert len(server.calls) == 3 + 2, "what was judged is kept"


def test_muster_score_is_interrupted_too(forker: Forker, tmp_path: Path) -> None:
    forker.start(*words(tmp_path, "inline"))
    assert forker.wait().status == 0
    before = (tmp_path / "run" / "results.json").read_bytes()
    env = {
        "AT": "live",
        "WHAT": "swallow",
        "REACHED": str(tmp_path / "reached"),
    }  # the first answers it scores
    pid = forker.start("score", str(tmp_path / "run"), env=env)
    wait_for(tmp_path / "reached")
    os.kill(pid, signal.SIGTERM)
    ended = forker.wait()
    assert ended.status == 143, ended.said
    assert (tmp_path / "run" / "results.json").read_bytes() == before


def test_older_results_dont_claim_to_be_complete(forker: Forker, tmp_path: Path) -> None:
    forker.start(*words(tmp_path, "inline", "--limit", "3"))
    assert forker.wait().status == 0
    assert Results.load(tmp_path / "run" / "results.json").complete
    env = {"AT": "aggregate", "WHAT": "wait", "REACHED": str(tmp_path / "reached")}
    pid = forker.start(*words(tmp_path, "inline"), env=env)
    wait_for(tmp_path / "reached")
    os.kill(pid, signal.SIGTERM)
    assert forker.wait().status == 143
    assert not Results.load(tmp_path / "run" / "results.json").complete


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_at_any_moment(forker: Forker, tmp_path: Path, engine: str) -> None:
    """Whenever it comes: the signal's exit code, or complete results. Never one that looks like the other."""
    task = write_benchmark(tmp_path / "bench", 30)
    dice = random.Random(engine)
    given = ["run", "--model", "x", "--backend", f"{HERE / 'fake_models.py'}:Echo", "--tasks", str(task)]
    given += ["--engine", engine, "--progress", "none", "--model-args", "seconds=0.01"]
    for number in range(3):
        run = tmp_path / f"run{number}"
        pid = forker.start(*given, "--output", str(run))
        time.sleep(dice.uniform(0.05, 1.2))
        os.kill(pid, sent := dice.choice(SIGNALS))
        ended = forker.wait()
        assert ended.status in (0, 128 + sent), ended.said
        if ended.status == 0:
            assert Results.load(run / "results.json").complete
            continue
        forker.start(*given, "--output", str(run))
        assert forker.wait().status == 0
        assert Results.load(run / "results.json").tasks["echo"].metrics["accuracy"].value == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["source", "score", "write results"])
def test_a_signal_ends_every_phase_under_a_launcher(tmp_path: Path, phase: str) -> None:
    """torchrun's own status is 1 for whatever a rank ends with; rank 0's is in the manifest."""
    reached = tmp_path / "reached"
    env = {"AT": phase, "WHAT": "wait", "REACHED": str(reached), "PYTHONPATH": str(HERE)}
    given = [
        word
        for word in words(tmp_path, "torchrun")[1:]
        if word != "--output" and word != str(tmp_path / "run")
    ]
    run = start(tmp_path / "run", *given, launcher=launched(2), env=env)
    run.until(reached.exists, phase)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait() != 0
    assert not (tmp_path / "run" / "results.json").exists()
