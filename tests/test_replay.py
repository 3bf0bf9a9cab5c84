"""The replay backend: an earlier run's answers again, by name, with their failures and their delays."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from muster.core import JSON, Completion, ConfigurationError, Failure, Request, RequestKey, Usage
from muster.models.protocol import Model, ModelSettings
from muster.models.replay import Replay
from muster.results.fingerprint import model_fingerprint
from muster.results.folder import RunFolder
from muster.results.journal import Journal, Record
from processes import fake, start, write_benchmark
from tiny_requests import ListStream

BROKEN = Failure("transient", "TimeoutError", "too slow")


def write_run(root: Path, *completions: Completion) -> Path:
    folder = RunFolder(root)
    folder.create()
    with Journal.open(folder.journal, "recorded") as journal:
        for completion in completions:
            journal.append(Record(completion, "worker-0", 1.0, 1))
        journal.sync()
    return root


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(
        tmp_path / "run",
        Completion(RequestKey("mme", "a"), failure=BROKEN),
        Completion(RequestKey("mme", "a"), "yes", usage=Usage(7, 2), seconds=0.3, finish_reason="stop"),
        Completion(RequestKey("mme", "a", 1), "no", seconds=0.1),
        Completion(RequestKey("mme", "b"), failure=BROKEN),
        Completion(RequestKey("pope", "a"), "perhaps"),
    )


def request(task: str, sample: str, repeat: int = 0) -> Request:
    return Request(RequestKey(task, sample, repeat), ())


def load(run: Path, args: Mapping[str, JSON] | None = None, max_in_flight: int | None = None) -> Replay:
    return Replay(ModelSettings(str(run), args=args or {}, max_in_flight=max_in_flight))


def replayed(model: Model, *requests: Request) -> list[Completion]:
    return list(model.generate(ListStream(requests)))


def test_answers_are_found_by_task_sample_and_repeat(run: Path) -> None:
    asked = [request("pope", "a"), request("mme", "a", 1), request("mme", "a")]
    found = replayed(load(run), *asked)
    assert [completion.key for completion in found] == [one.key for one in asked]
    assert [completion.text for completion in found] == ["perhaps", "no", "yes"]
    assert found[2] == Completion(
        RequestKey("mme", "a"), "yes", usage=Usage(7, 2), seconds=0.3, finish_reason="stop"
    )


def test_failures_are_given_again_and_missing_answers_are_the_samples_errors(run: Path) -> None:
    recorded, missing = replayed(load(run), request("mme", "b"), request("mme", "c"))
    assert recorded.failure == BROKEN
    assert missing.failure is not None
    assert missing.failure.kind == "sample"
    assert "no answer to this sample of mme; it has answers of: mme, pope" in missing.failure.message


def test_another_tasks_answers(run: Path) -> None:
    [found] = replayed(load(run, {"task": "mme"}), request("mme_strict", "a"))
    assert (found.key, found.text) == (RequestKey("mme_strict", "a"), "yes")


def test_answers_take_their_time_and_overtake_each_other(run: Path) -> None:
    asked = [request("mme", "a"), request("mme", "a", 1), request("pope", "a")]
    began = time.monotonic()
    one_by_one = replayed(load(run, {"delay": "recorded"}), *asked)
    took = time.monotonic() - began
    assert [completion.text for completion in one_by_one] == ["yes", "no", "perhaps"]
    assert took >= 0.4  # a lower bound: machines are only ever slower
    together = replayed(load(run, {"delay": "recorded"}, max_in_flight=3), *asked)
    assert [completion.text for completion in together] == ["perhaps", "no", "yes"]
    began = time.monotonic()
    replayed(load(run, {"delay": 0.05}), *asked)
    assert time.monotonic() - began >= 0.15


def test_no_more_is_pulled_than_there_is_room_for(run: Path) -> None:
    model = load(run, max_in_flight=2)
    assert model.slots == 2
    stream = ListStream([request("mme", "a")] * 5)
    answers = model.generate(stream)
    next(answers)
    assert len(stream.pending) == 3


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({"delay": -1}, "seconds, or `recorded`"),
        ({"delay": "slow"}, "seconds, or `recorded`"),
        ({"delay": True}, "seconds, or `recorded`"),
        ({"task": 3}, "name of a task"),
        ({"speed": 2}, "no such argument"),
    ],
)
def test_wrong_arguments_are_explained(run: Path, args: dict[str, JSON], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        load(run, args)


def test_a_folder_without_a_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no run folder"):
        load(tmp_path)


def test_a_recordings_identity_is_its_answers(run: Path) -> None:
    before = model_fingerprint(str(run), "replay", {})
    (run / "results.json").write_text("{}")  # scored again, for example
    assert model_fingerprint(str(run), "replay", {}) == before
    with Journal.open(RunFolder(run).journal, "recorded") as journal:
        journal.append(Record(Completion(RequestKey("mme", "c"), "late"), "worker-0", 2.0, 2))
    assert model_fingerprint(str(run), "replay", {}) != before


def test_a_run_replayed_scores_the_same_and_a_larger_one_has_errors(tmp_path: Path) -> None:
    task = write_benchmark(tmp_path, 20)
    first = start(
        tmp_path / "first", "--model", "m", "--backend", fake("Echo"), "--tasks", str(task), "--limit", "12"
    )
    assert first.wait() == 0, first.stderr
    recorded = ["--model", str(tmp_path / "first"), "--backend", "replay", "--tasks", str(task)]
    again = start(tmp_path / "again", *recorded, "--limit", "12", "--replicas", "2", "--schedule", "strided")
    assert again.wait() == 0, again.stderr
    old, new = first.results().tasks["echo"], again.results().tasks["echo"]
    assert (new.metrics, new.by, new.samples) == (old.metrics, old.by, old.samples)
    larger = start(tmp_path / "larger", *recorded)
    assert larger.wait() == 3, larger.stderr
    counts = larger.results().tasks["echo"].samples
    assert (counts.requested, counts.succeeded, counts.errored) == (20, 12, 8)
    wrong = start(tmp_path / "wrong", "--model", str(tmp_path), "--backend", "replay", "--tasks", str(task))
    assert wrong.wait() == 2
    assert "no run folder" in wrong.stderr
