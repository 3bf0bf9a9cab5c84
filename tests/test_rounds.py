"""Samples that are asked in rounds: what is asked next is known only when the task's own code has seen the answer."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from muster.config import load_config
from muster.coordinator import rounds as rounds_in_progress
from muster.coordinator.coordinator import Coordinator
from muster.coordinator.progress import Progress, TaskProgress
from muster.coordinator.workload import Workload
from muster.core import Completion, ConfigurationError, Generation, Message, Part, RequestKey, Sample
from muster.core.encoded import Encoded
from muster.planning import plan
from muster.results.journal_read import read_journal
from muster.scheduling.queue import WorkQueue
from muster.tasks.definition import Task
from muster.tasks.plan import PlannedTask
from muster.tasks.rounds import Ended, NextRound, divided, joined
from processes import Run, fake, start, until, with_fake_toolkit
from test_coordinator import Records
from toy_task import ToyMetric, ToyPrompt, ToySource

ROUNDS = [1 + number % 4 for number in range(12)]
"""Of each document of the fake toolkit's task."""


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return with_fake_toolkit(tmp_path, monkeypatch)


def ask(output: Path, python: Path, *options: str, task: str = "rounds", model: str = "Repeats") -> Run:
    backend = ["--model", "m", "--backend", fake(model)]
    tasks = ["--tasks", f"lmms-eval:{task}", "--lmms-eval-python", str(python)]
    return start(output, *backend, *tasks, "--progress", "none", *options)


def kept(output: Path) -> Counter[str]:
    """How often each round was answered."""
    return Counter(record.completion.key.sample_id for record in read_journal(output / "rounds.jsonl"))


EVERY = Counter(f"{number}:{n + 1}" for number, count in enumerate(ROUNDS) for n in range(count))


@pytest.mark.parametrize("replicas", [1, 4])
def test_each_round_is_asked_once_and_a_document_has_one_score(
    tmp_path: Path, python: Path, replicas: int
) -> None:
    engine = ["--engine", "inline"] if replicas == 1 else ["--engine", "local", "--replicas", "4"]
    run = ask(tmp_path / "run", python, *engine)
    assert run.wait() == 0, run.stderr
    results = run.results().tasks["lmms-eval:rounds"]
    assert results.metrics["accuracy"].value == 1.0, "the questions, with their pictures, were the code's own"
    assert (results.samples.requested, results.samples.succeeded) == (12, 12)
    assert kept(run.output) == EVERY
    by_id = {record.completion.key.sample_id: record.completion for record in run.journal()}
    assert len(run.journal()) == 12
    assert divided(by_id["1"].text or "") == ["document 1 [0]", "after document 1 [0] [2]"]
    assert by_id["1"].usage.completion_tokens == len("document 1 [0]") + len("after document 1 [0] [2]")


def test_a_killed_run_goes_on_in_the_middle_of_its_documents(tmp_path: Path, python: Path) -> None:
    options = ["--engine", "local", "--replicas", "2", "--model-args", "seconds=0.1"]
    first = ask(tmp_path / "run", python, *options)
    begun = tmp_path / "run" / "rounds.jsonl"
    first.until(lambda: begun.exists() and sum(kept(begun.parent).values()) >= 14, "rounds")
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    before = kept(first.output)
    assert sum(before.values()) < sum(ROUNDS)
    assert any(
        f"{number}:1" in before for number, count in enumerate(ROUNDS) if f"{number}:{count}" not in before
    )
    second = ask(tmp_path / "run", python, *options)
    assert second.wait() == 0, second.stderr
    assert second.results().tasks["lmms-eval:rounds"].metrics["accuracy"].value == 1.0
    assert kept(second.output) == EVERY, "nothing is asked again, nothing is left out"
    again = ask(tmp_path / "again", python, "--backend", "replay", "--model", str(second.output))
    assert again.wait() == 0, again.stderr
    assert again.results().tasks["lmms-eval:rounds"].metrics["accuracy"].value == 1.0


def test_what_the_code_raises_is_that_documents_failure(tmp_path: Path, python: Path) -> None:
    run = ask(tmp_path / "run", python, "--model-args", "raises=5:2", model="SaysRaise")
    assert run.wait() == 3, run.stderr
    failures = {
        r.completion.key.sample_id: r.completion.failure for r in run.journal() if r.completion.failure
    }
    assert list(failures) == ["5"]
    failure = failures["5"]
    assert failure.type == "RoundFailed"
    assert "ValueError: the code of the task can't go on" in failure.message
    assert run.results().tasks["lmms-eval:rounds"].samples.succeeded == 11
    second = ask(tmp_path / "run", python, "--model-args", "raises=5:2", model="SaysRaise")
    assert second.wait() == 3
    assert kept(run.output)["5:1"] == 1, "what was answered isn't asked again"


def test_code_that_never_ends_is_ended(tmp_path: Path, python: Path) -> None:
    run = ask(tmp_path / "run", python, "--limit", "1", task="endless", model="Echo")
    assert run.wait() == 3, run.stderr
    [record] = run.journal()
    assert record.completion.failure is not None
    assert f"more than {rounds_in_progress.MOST_ROUNDS} rounds" in record.completion.failure.message


def test_gather_is_refused_before_anything_is_loaded(python: Path) -> None:
    asked = {"model": "x", "tasks": "lmms-eval:rounds", "collect": "gather", "lmms_eval_python": str(python)}
    with pytest.raises(ConfigurationError, match="the later turns of lmms-eval:rounds need the answers"):
        plan(load_config(asked, env={}))


class Counts:
    """Three rounds: `2`, then `3`."""

    def next(self, sample_id: str, repeat: int, answers: Sequence[str]) -> NextRound:
        del sample_id, repeat
        if len(answers) == 3:
            return Ended(answers)
        return (Message("user", (Part(text=str(len(answers) + 1)),)),)


@pytest.fixture
def coordinator() -> Coordinator:
    samples = [Sample("a", "1")]
    task = Task("toy", 1, ToySource(samples), ToyPrompt(), ToyMetric(), rounds=Counts())
    workload = Workload([PlannedTask(task, samples, Generation())])
    coordinator = Coordinator(
        workload,
        WorkQueue(workload.items, replicas=2),
        Records(),
        Progress([TaskProgress("toy", 1)]),
        attempt=1,
        worker_timeout=10,
        request_timeout=10,
        load_timeout=10,
        rounds=Records(),
    )
    for rank in range(2):
        coordinator.join(f"worker-{rank}", rank, "here", 1, now=0)
        coordinator.ready(f"worker-{rank}", 1, False, 0.0, now=0)
    return coordinator


def recorded(coordinator: Coordinator) -> Records:
    assert isinstance(coordinator._journal, Records)
    return coordinator._journal


def pulled(coordinator: Coordinator, worker: str) -> RequestKey:
    [(index, request)] = coordinator.pull(worker, 1, idle=True, now=0).requests
    assert index == 0
    return request.key


def answer(coordinator: Coordinator, worker: str, key: RequestKey, text: str) -> None:
    coordinator.answer(worker, [(0, Encoded.of(Completion(key, text)))], now=0)


def test_a_late_answer_to_an_earlier_round_is_not_taken_for_the_next_ones(coordinator: Coordinator) -> None:
    """A worker that was thought lost answers its round when another has answered it and works on the next."""
    first = pulled(coordinator, "worker-0")
    assert str(first) == "toy/a:1"
    coordinator.lose("worker-0", "silent", now=0)
    assert pulled(coordinator, "worker-1") == first
    answer(coordinator, "worker-1", first, "one")
    assert coordinator.pull("worker-1", 1, idle=True, now=0).state == "empty"
    until(lambda: coordinator.go_on(now=0), "the task's code")
    second = pulled(coordinator, "worker-1")
    assert str(second) == "toy/a:2"
    coordinator.seen("worker-0", now=0)
    answer(coordinator, "worker-0", first, "late")
    assert list(coordinator.workers["worker-1"].held) == [0], "it is still at work"
    answer(coordinator, "worker-1", second, "two")
    until(lambda: coordinator.go_on(now=0), "the task's code")
    third = pulled(coordinator, "worker-0")
    answer(coordinator, "worker-0", third, "three")
    answer(coordinator, "worker-1", third, "late too")
    until(lambda: coordinator.go_on(now=0), "the task's code")
    assert coordinator.finished
    assert not any(worker.holding for worker in coordinator.workers.values())
    answer(coordinator, "worker-1", second, "very late")
    [record] = recorded(coordinator)
    assert record.completion.key == RequestKey("toy", "a")
    assert divided(record.completion.text or "") == ["one", "two", "three"]


def test_a_failed_round_is_its_samples_failure(coordinator: Coordinator) -> None:
    first = pulled(coordinator, "worker-0")
    answer(coordinator, "worker-0", first, "one")
    until(lambda: coordinator.go_on(now=0), "the task's code")
    second = pulled(coordinator, "worker-0")
    assert str(second) == "toy/a:2"
    for _death in range(3):
        coordinator.lose("worker-0", "killed", now=0)
        coordinator.join("worker-0", 0, "here", 1, now=0)
        coordinator.ready("worker-0", 1, False, 0.0, now=0)
        coordinator.pull("worker-0", 1, idle=True, now=0)
    assert coordinator.finished
    [record] = recorded(coordinator)
    assert record.completion.key == RequestKey("toy", "a")
    assert record.completion.failure is not None
    assert record.completion.failure.message.startswith("round 2: three workers were lost")


@pytest.mark.parametrize("answers", [["one"], ["one", None, "three"], [""], ["\u2028[]"]])
def test_answers_of_rounds_come_back_as_they_were(answers: list[str | None]) -> None:
    assert divided(joined(answers)) == answers


@pytest.mark.parametrize("text", ["", "Yes", "[1, 2]", '{"a": 1}'])
def test_a_plain_text_is_a_single_round(text: str) -> None:
    assert divided(text) == [text]
