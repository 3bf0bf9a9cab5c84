"""Judges: real servers and processes that answer, refuse, babble, hang and die.

Guards against answers that are scored by something else when the judge fails, verdicts that are paid for twice, and a
judge that takes the run down with it.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from api_servers import Answer, Call, chat, claude, dead_port, error, serving
from judged_task import asked_about, judge_at, says, task_of, write_judged
from muster.core import ConfigurationError, RunError, Sample
from muster.judging.judge import JudgeSpec, judge_spec
from muster.judging.session import AnswerToJudge, Judging
from muster.metrics.protocol import UnscoredError
from muster.results.journal_read import inspect_journal, read_verdicts
from muster.results.verdicts import VerdictBook
from muster.tasks.definition import Task
from processes import DEADLINE, fake

Outcomes = dict[str, float | str]
"""By sample: its grade, or why it has none."""


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return task_of(write_judged(tmp_path / "task", 12))


def outcomes(book: VerdictBook, task: Task, samples: Sequence[Sample]) -> Outcomes:
    found: Outcomes = {}
    for sample in samples:
        try:
            found[sample.id] = book.score(task.metric, sample, f"answer {sample.id}").scores["grade"]
        except UnscoredError as error:
            found[sample.id] = str(error)
    return found


def judged(
    spec: JudgeSpec,
    task: Task,
    file: Path,
    count: int = 12,
    meanwhile: Callable[[Judging], None] | None = None,
) -> Outcomes:
    """What comes of having the answers of the first samples judged."""
    samples = task.source.load()[:count]
    said: list[str] = []
    with Judging(spec, file, "run", say=said.append) as judging:
        for sample in samples:
            judging.judge(AnswerToJudge(task, sample, 0, f"answer {sample.id}"))
        if meanwhile is not None:
            meanwhile(judging)
        judging.finish()
    assert bool(said) == bool(judging.book.silence), "the user is told at once"
    return outcomes(judging.book, task, samples)


def wait_for(true: Callable[[], object]) -> None:
    limit = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.01)


def test_verdicts_come_from_the_server_and_are_asked_for_once(task: Task, tmp_path: Path) -> None:
    """By this judge; another one is asked about everything, and both stay."""
    file = tmp_path / "verdicts.jsonl"
    with serving(says({"s3": "1.0", "s4": "0.0"})) as server:
        grades = judged(judge_at(server.url), task, file, 6)
        assert grades == {"s0": 0.5, "s1": 0.5, "s2": 0.5, "s3": 1.0, "s4": 0.0, "s5": 0.5}
        body = server.calls[0].body
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("gpt-judge", 0.0, 128)
        again = judged(judge_at(server.url), task, file, 8)
        assert Counter(map(asked_about, server.calls)) == dict.fromkeys([f"s{i}" for i in range(8)], 1)
        assert again | grades == again
        judged(judge_at(server.url, "other"), task, file, 2)
        judged(judge_at(server.url, temperature=0.7, max_new_tokens=9), task, file, 2)
        assert [call.body["model"] for call in server.calls[8:]] == ["other"] * 2 + ["gpt-judge"] * 2
        assert server.calls[-1].body["max_tokens"] == 9
    assert inspect_journal(file).clean
    assert Counter(verdict.judge for verdict in read_verdicts(file)) == {"gpt-judge": 10, "other": 2}
    assert {verdict.prompt for verdict in read_verdicts(file)} == {"muster-mmvet/1"}


def test_the_same_answer_to_the_same_question_is_judged_once(task: Task, tmp_path: Path) -> None:
    """Repeats of a greedy model."""
    sample = task.source.load()[0]
    with serving(lambda _: chat("1.0")) as server:
        with Judging(judge_at(server.url), tmp_path / "verdicts.jsonl", "run") as judging:
            for repeat in range(20):
                judging.judge(AnswerToJudge(task, sample, repeat, "answer" if repeat % 2 else "other answer"))
            judging.finish()
        assert len(server.calls) == 2
        assert judging.book.score(task.metric, sample, "answer").scores == {"grade": 1.0}


def test_what_a_judge_refuses_or_babbles_is_unscored_and_nothing_else(task: Task, tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    script: dict[str, str | Answer] = {
        "s1": "I think it is fine.",
        "s2": "",
        "s3": error(400, "this prompt is not allowed"),
        "s4": "<think>0.0 would be harsh\n</think>\n\n0.9",
        "s5": "7",
    }
    with serving(says(script)) as server:
        found = judged(judge_at(server.url), task, file, 7)
        assert found["s0"] == found["s6"] == 0.5
        assert found["s4"] == 0.9, "what a judge thinks aloud is no verdict"
        for sample, reason in {"s1": "I think it is fine", "s2": "no grade", "s5": "'7'"}.items():
            assert reason in str(found[sample])
        assert "gave no verdict" in str(found["s3"])
        assert "not allowed" in str(found["s3"])
        asked = len(server.calls)
        server.script = says({})
        again = judged(judge_at(server.url), task, file, 7)
        assert [asked_about(call) for call in server.calls[asked:]] == ["s3"], (
            "a failure is no verdict, babble is one"
        )
        assert again["s3"] == 0.5
        assert again["s1"] == found["s1"]


def test_overload_and_server_errors_cost_time_and_no_verdict(task: Task, tmp_path: Path) -> None:
    def script(call: Call) -> Answer:
        if call.number % 3 == 0:
            return error(429, "too many", retry_after="0.05") if call.number % 2 else error(500, "oops")
        return Answer(chat("1.0").body, delay=0.02)

    with serving(script) as server:
        found = judged(judge_at(server.url), task, tmp_path / "verdicts.jsonl")
        assert found == {f"s{i}": 1.0 for i in range(12)}
        assert len(server.calls) > 12


def test_a_wrong_key_silences_the_judge_and_keeps_what_it_said(task: Task, tmp_path: Path) -> None:
    with serving(lambda call: chat("1.0") if call.number < 3 else error(401, "bad key")) as server:
        spec = judge_at(server.url, max_in_flight=1)
        found = judged(spec, task, tmp_path / "verdicts.jsonl")
        assert list(found.values()).count(1.0) == 3
        assert (
            sum("can't be asked any more" in str(each) and "bad key" in str(each) for each in found.values())
            == 9
        )
        assert any("--judge-args api_key_env" in str(each) for each in found.values()), (
            "the judge's own option"
        )
        assert len(server.calls) == 4
        server.script = says({}, "1.0")
        assert set(judged(spec, task, tmp_path / "verdicts.jsonl").values()) == {1.0}
        assert len(server.calls) == 4 + 9


def test_a_judge_that_nobody_serves_is_said_before_anything_else(task: Task, tmp_path: Path) -> None:
    with (
        dead_port() as port,
        pytest.raises(ConfigurationError, match=r"judge: no server can be reached.*--judge-args"),
    ):
        judged(judge_at(f"http://127.0.0.1:{port}/v1"), task, tmp_path / "verdicts.jsonl")
    with pytest.raises(ConfigurationError, match="has no 'NoSuch'"):
        judge_spec("x", fake("NoSuch"), {})
    with pytest.raises(ConfigurationError, match="there is none: name it with --judge"):
        judge_spec(None, None, {"base_url": "http://x"})
    with pytest.raises(ConfigurationError, match=r"judge: --judge-args: .*temperature"):
        judge_spec("x", None, {"temperature": -1})


def local(**args: object) -> JudgeSpec:
    spec = judge_spec("local", fake("Grades"), {name: str(value) for name, value in args.items()})
    assert spec is not None
    return spec


@pytest.mark.parametrize("batch", [1, 5])
def test_a_local_model_judges(task: Task, tmp_path: Path, batch: int) -> None:
    """In static batches too: the stream of questions must end for a batch's answers to leave."""
    options = {} if batch == 1 else {"batch": batch}
    assert set(judged(local(**options), task, tmp_path / "verdicts.jsonl").values()) == {0.5}


def test_a_judge_that_dies_is_started_again_and_asks_only_what_is_open(task: Task, tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    found = judged(local(die_at=5, once=tmp_path / "died"), task, file)
    assert set(found.values()) == {0.5}
    assert (tmp_path / "died").exists()
    assert max(Counter(verdict.asked for verdict in read_verdicts(file)).values()) == 1
    found = judged(local(die_at=1), task, tmp_path / "other.jsonl", 2)
    assert all("3 times without a verdict in between" in str(each) for each in found.values())


def test_a_stuck_judge_is_given_up_in_the_end(task: Task, tmp_path: Path) -> None:
    """One that loads and never answers; the run must not wait for it for ever."""
    spec = judge_spec("local", fake("Grades"), {"seconds": 60}, request_timeout=0.2)
    assert spec is not None
    found = judged(spec, task, tmp_path / "verdicts.jsonl", 2)
    assert all(
        "no verdict for 0.2 s, 3 times without a verdict in between" in str(each) for each in found.values()
    )


def test_a_killed_judge_of_a_server_loses_nothing(task: Task, tmp_path: Path) -> None:
    def kill(judging: Judging) -> None:
        wait_for(lambda: len(list(read_verdicts(tmp_path / "verdicts.jsonl"))) >= 2)
        os.killpg(judging._process.pid, signal.SIGKILL)

    with serving(lambda _: Answer(chat("1.0").body, delay=0.1)) as server:
        spec = judge_at(server.url, max_in_flight=2)
        found = judged(spec, task, tmp_path / "verdicts.jsonl", meanwhile=kill)
        assert set(found.values()) == {1.0}
        assert len(server.calls) <= 12 + 2, "what was under way at its death"


def test_a_judge_that_can_not_start_is_an_error_and_leaves_no_process(task: Task, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not ready within 0 s"):
        Judging(local(load_seconds=30), tmp_path / "verdicts.jsonl", "run", load_seconds=0.3)


def test_verdicts_of_another_run_are_not_taken_for_this_ones(task: Task, tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    judged(local(), task, file, 1)
    with pytest.raises(ConfigurationError, match="belongs to run run"):
        Judging(local(), file, "another")


def test_a_damaged_verdict_costs_itself(task: Task, tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    judged(local(), task, file, 4)
    lines = file.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"0.5"', b'"0.6"')
    file.write_bytes(b"".join(lines)[:-10])  # and a torn last line
    book = VerdictBook.load(file)
    assert book.judge == local().judge
    found = outcomes(book, task, task.source.load()[:4])
    assert sorted(map(str, found.values()))[:2] == ["0.5", "0.5"]
    assert sum("was not asked" in str(each) for each in found.values()) == 2
    assert set(judged(local(), task, file, 4).values()) == {0.5}


def test_claude_judges_by_its_own_api(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the vendor's SDK, from the judge's process: its path, its key, its form of an answer."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key")

    def script(call: Call) -> Answer:
        return claude("0.9" if "answer s1\\n" in call.text else "0.2")

    with serving(script) as server:
        url = f"http://127.0.0.1:{server.port}"
        spec = judge_spec("claude-judge", "anthropic", {"base_url": url, "max_in_flight": 2})
        assert spec is not None
        found = judged(spec, task, tmp_path / "verdicts.jsonl", 3)
        assert found == {"s0": 0.2, "s1": 0.9, "s2": 0.2}
        asked = [call for call in server.calls if call.path == "/v1/messages"]
        assert len(asked) == 3
        for call in asked:
            assert any(value.endswith("a-key") for value in call.headers.values()), (
                "in a header of the SDK's choice"
            )
            assert (call.body["model"], call.body["max_tokens"]) == ("claude-judge", 128)
            assert "\\nGrade:" in call.text
