"""Dialogues: later turns are asked with the model's own answers to the earlier ones, exactly once, whoever dies.

Guards against a later turn that is asked with somebody else's history, before there is one, or for ever waits for one.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

import muster
from api_servers import Answer, Call, chat, serving
from muster.config import load_config
from muster.core import ConfigurationError, Message, Sample
from muster.demo import demo_model_path
from muster.metrics.protocol import Score, ScoredSample
from muster.metrics.registry import build_metric
from muster.planning import plan
from muster.results.clusters import cluster_ids
from muster.tasks.checking import check_task
from muster.tasks.definition import Task
from muster.tasks.dialogue import conversation
from muster.tasks.preview import preview
from muster.tasks.registry import load_tasks
from muster.tasks.selection import select
from processes import Run, fake, start


def write_dialogues(folder: Path, turns: list[int], **prompt: object) -> Path:
    """A benchmark whose right answers are what `Remembers` says; dialogue `d<i>` has `turns[i]` turns."""
    rows = []
    for number, count in enumerate(turns):
        said, items = "", []
        for turn in range(1, count + 1):
            said = f"d{number}-{turn}({said})"
            items.append({"question": f"Question {number}.{turn}", "answer": said})
        rows.append({"id": f"d{number}", "topic": "ab"[number % 2], "turns": items})
    (folder / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = folder / "talk.yaml"
    source = {"file": "talk.jsonl", "turns": "turns"}
    given = {"name": "talk", "source": source, "metric": "dialogues", "by": ["turn"], "prompt": prompt}
    task.write_text(json.dumps(given))
    return task


def talk(task: Path, output: Path, backend: str, *options: str) -> Run:
    """Start a run of the dialogues with a fake model."""
    return start(output, "--model", "x", "--backend", fake(backend), "--tasks", str(task), *options)


def load(task: Path) -> Task:
    [loaded] = load_tasks([str(task)])
    return loaded


def said(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in messages]


def shown(message: Message) -> list[str]:
    """Texts, and the names of images."""
    return [part.text or Path(str(part.media and part.media.path)).name for part in message.parts]


# From rows to turns


def test_each_turn_is_a_sample_that_continues_the_one_before(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "b.png")
    row = {
        "id": "d",
        "image": "a.png",
        "topic": "shapes",
        "turns": [
            {"question": "What is it?", "answer": "a square"},
            {
                "id": 7,
                "question": "And this?",
                "image": "b.png",
                "answer": ["a circle", "round"],
                "topic": "other",
            },
            {"question": "Which is larger?", "choices": ["first", "second"], "answer": "B"},
        ],
    }
    (tmp_path / "t.jsonl").write_text(json.dumps(row))
    (tmp_path / "t.yaml").write_text("name: t\nsource: {file: t.jsonl, turns: turns}\nmetric: exact_match\n")
    first, second, third = load(tmp_path / "t.yaml").source.load()
    assert [first.id, second.id, third.id] == ["d-1", "d-2", "d-3"]
    assert (first.previous, second.previous, third.previous) == (None, first, second)
    assert [Path(str(media.path)).name for media in (*first.images, *second.images, *third.images)] == [
        "a.png",
        "b.png",
    ]
    assert second.answers == ("a circle", "round")
    assert (third.choices, third.answer) == (("first", "second"), "B")
    assert dict(second.metadata) == {"topic": "other", "dialogue": "d", "turn": 2, "turns": 3}
    assert third.dialogue == (first, second, third)


def test_messages_by_turns_are_questions_with_answers(tmp_path: Path) -> None:
    llava = [
        {"from": "human", "value": "One?"},
        {"from": "gpt", "value": "1"},
        {"from": "human", "value": "Two?"},
    ]
    openai = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "1"}]
    rows = [{"id": "a", "talk": llava}, {"id": "b", "talk": openai}]
    (tmp_path / "t.json").write_text(json.dumps(rows))
    (tmp_path / "t.yaml").write_text("name: t\nsource: {file: t.json, turns: talk}\nmetric: exact_match\n")
    samples = load(tmp_path / "t.yaml").source.load()
    assert [(each.id, each.question, each.answers) for each in samples] == [
        ("a-1", "One?", ("1",)),
        ("a-2", "Two?", ()),
        ("b-1", "One?", ("1",)),
    ]


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ("one", "turns: 'one' is not a list of turns"),
        ([], "is not a list of turns"),
        ([{"question": "Q"}, "text"], "'text' is no turn"),
        ([{"question": "Q"}, {"answer": "A"}], "turn 2: question: missing"),
        ([{"from": "gpt", "value": "A"}], "message 1 is the assistant's where the user's is expected"),
    ],
)
def test_what_is_no_dialogue_is_told_with_its_line(tmp_path: Path, turns: object, message: str) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": "d", "turns": turns}))
    (tmp_path / "t.yaml").write_text("name: t\nsource: {file: t.jsonl, turns: turns}\nmetric: exact_match\n")
    with pytest.raises(ConfigurationError, match=r"t\.jsonl:1") as caught:
        load(tmp_path / "t.yaml").source.load()
    assert message in str(caught.value)


# Prompts


def test_a_later_turn_has_the_earlier_ones_before_it_and_the_system_message_once(tmp_path: Path) -> None:
    before = [{"user": "Ready?"}, {"assistant": "Yes."}]
    task = load(
        write_dialogues(
            tmp_path, [2], system="Be kind.", template="{{ turn }}: {{ question }}", before=before
        )
    )
    first, second = task.source.load()
    opening = [("system", "Be kind."), ("user", "Ready?"), ("assistant", "Yes."), ("user", "1: Question 0.1")]
    assert said(conversation(task, first, str)) == opening
    asked = said(conversation(task, second, lambda turn: f"my answer to {turn.id}"))
    assert asked == [*opening, ("assistant", "my answer to d0-1"), ("user", "2: Question 0.2")]


def test_reference_answers_stand_before_it_where_the_task_says_so(tmp_path: Path) -> None:
    task = load(write_dialogues(tmp_path, [2], earlier_answers="reference"))
    _, second = task.source.load()
    assert said(conversation(task, second, lambda turn: "never asked"))[1] == ("assistant", "d0-1()")


def test_media_go_where_a_fixed_conversation_has_their_markers(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.jsonl").write_text('{"question": "Same?", "images": ["a.png", "b.png"]}\n')
    task = tmp_path / "t.yaml"
    prompt = "{before: [{user: 'One: <image 1>'}, {assistant: I see.}], template: '<image 2> {{ question }}'}"
    task.write_text(f"name: t\nsource: {{file: t.jsonl}}\nprompt: {prompt}\nmetric: exact_match\n")
    [sample] = load(task).source.load()
    user, assistant, last = load(task).prompt.render(sample)
    assert shown(user) == ["One: ", "a.png"]
    assert assistant.text == "I see."
    assert shown(last) == ["b.png", " Same?"]


def test_check_shows_the_last_turn_of_the_first_dialogue(tmp_path: Path) -> None:
    report = check_task(load(write_dialogues(tmp_path, [3, 2])), None)
    assert report.passed
    assert report.first is not None
    assert preview(report.first.messages).splitlines()[:4] == [
        "[user]",
        "Question 0.1",
        "[assistant]",
        "(what the model answered to d0-1)",
    ]
    assert report.first.sample.id == "d0-3"


def test_a_turn_that_is_asked_for_by_name_brings_those_before_it(tmp_path: Path) -> None:
    samples = load(write_dialogues(tmp_path, [3, 2])).source.load()
    assert [each.id for each in select(samples, None, ["d0-2"])] == ["d0-1", "d0-2"]


def test_turns_of_a_dialogue_are_one_cluster() -> None:
    """Their answers depend on each other, so the standard error must not take them as independent."""
    first = Sample("a-1", "Q")
    second = Sample("a-2", "Q", previous=first)
    rows = [ScoredSample(sample, "", Score({})) for sample in (first, second, Sample("b", "Q"))]
    assert cluster_ids(rows) == ["sample:a-1", "sample:a-1", "sample:b"]


def test_a_dialogue_is_complete_when_every_turn_of_it_is_right(tmp_path: Path) -> None:
    """A turn that failed has no row: its dialogue must not pass for complete because of that."""
    task = load(write_dialogues(tmp_path, [2, 2, 2]))
    samples = task.source.load()
    texts = [samples[0].answer, "wrong", *(sample.answer for sample in samples[2:5])]
    rows = [
        ScoredSample(sample, "", task.metric.score(sample, text))
        for sample, text in zip(samples, texts, strict=False)
    ]
    assert task.metric.aggregate(rows) == {"accuracy": 4 / 5, "complete": 1 / 3}
    with pytest.raises(ConfigurationError, match="its headline, score, is no mean from 0 to 1"):
        build_metric("dialogues", {"of": "mme"})


# Runs


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("Remembers", ["--engine", "inline", "--repeats", "2"]),
        ("RemembersInBatches", ["--engine", "local", "--replicas", "2"]),
        ("Remembers", ["--engine", "local", "--replicas", "3", "--schedule", "contiguous"]),
    ],
)
def test_every_turn_has_its_own_history(tmp_path: Path, backend: str, options: list[str]) -> None:
    turns = [1, 4, 2, 5, 3, 1, 2]
    run = talk(write_dialogues(tmp_path, turns), tmp_path / "run", backend, *options)
    assert run.wait() == 0, run.stderr + run.logs()
    results = run.results().tasks["talk"]
    repeats = 2 if "--repeats" in options else 1
    assert results.samples.succeeded == sum(turns) * repeats
    assert results.metrics["accuracy"].value == 1.0
    assert max(Counter(record.completion.key for record in run.journal()).values()) == 1


def test_a_killed_run_goes_on_in_the_middle_of_its_dialogues(tmp_path: Path) -> None:
    task, output = write_dialogues(tmp_path, [6, 6, 6]), tmp_path / "run"
    options = ["--engine", "local", "--replicas", "2", "--model-args", "seconds=0.1"]
    first = talk(task, output, "Remembers", *options)
    first.until_answered(7)
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    before = first.answered()
    assert before < 18
    second = talk(task, output, "Remembers", *options)
    assert second.wait() == 0, second.stderr
    assert second.results().tasks["talk"].metrics["accuracy"].value == 1.0
    assert Counter(str(record.completion.key) for record in second.journal()).total() == 18


def test_turns_after_one_that_failed_are_errors_and_are_asked_by_the_next_run(tmp_path: Path) -> None:
    task, output = write_dialogues(tmp_path, [4, 2]), tmp_path / "run"
    args = ["--model-args", f"once={tmp_path / 'marker'},fails=d0-2"]
    first = talk(task, output, "RemembersAndFails", *args)
    assert first.wait() == 3, first.stderr
    errors = {row["id"]: row["error"] for row in pq.read_table(output / "samples.parquet").to_pylist()}
    assert [name for name, error in errors.items() if error] == ["d0-2", "d0-3", "d0-4"]
    assert "EarlierTurnFailed: it continues the answer to sample d0-2, which failed: broken" in errors["d0-4"]
    second = talk(task, output, "RemembersAndFails", *args)
    assert second.wait() == 0, second.stderr
    assert second.results().tasks["talk"].metrics["accuracy"].value == 1.0


def test_gather_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    asked = {"model": "x", "tasks": str(write_dialogues(tmp_path, [2])), "collect": "gather"}
    with pytest.raises(ConfigurationError, match="the later turns of talk need the answers"):
        plan(load_config(asked, env={}))


def test_a_next_turn_is_asked_while_others_are_still_worked_on(tmp_path: Path) -> None:
    """d0-1 is answered when d1-3 was asked: an API's backend that waits for all answers before it asks on hangs."""
    run = talk(write_dialogues(tmp_path, [2, 3]), tmp_path / "run", "RemembersAtOnce", "--engine", "inline")
    assert run.wait() == 0, run.stderr
    assert run.results().tasks["talk"].metrics["accuracy"].value == 1.0


def test_a_server_gets_the_turns_before(tmp_path: Path) -> None:
    def answer(call: Call) -> Answer:
        return chat(f"answer {len(call.body['messages'])}")

    task = write_dialogues(tmp_path, [3], system="Be kind.")
    with serving(answer) as server:
        muster.evaluate(
            "m",
            str(task),
            backend="openai",
            model_args={"base_url": server.url},
            output=str(tmp_path / "run"),
        )
        last = server.calls[-1].body["messages"]
    assert [(message["role"], message["content"]) for message in last] == [
        ("system", "Be kind."),
        ("user", "Question 0.1"),
        ("assistant", "answer 2"),
        ("user", "Question 0.2"),
        ("assistant", "answer 4"),
        ("user", "Question 0.3"),
    ]


def test_the_demo_model_talks_about_two_images_alone_and_in_batches(tmp_path: Path) -> None:
    """The real model with its processor: images of earlier turns stay in the prompt, padded batches change nothing."""
    shades = []
    for number in range(4):
        Image.new("L", (32, 32), 60 * number).save(tmp_path / f"{number}.png")
        items = [
            {"question": "Which digit is shown?"},
            {"question": "And here?", "image": f"{3 - number}.png"},
        ]
        shades.append({"id": f"d{number}", "image": f"{number}.png", "turns": items})
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shades))
    (tmp_path / "t.yaml").write_text("name: t\nsource: {file: t.jsonl, turns: turns}\nmetric: exact_match\n")
    texts = []
    for size in (1, 4):
        output = tmp_path / f"run{size}"
        muster.evaluate(
            str(demo_model_path()),
            str(tmp_path / "t.yaml"),
            batch_size=size,
            max_new_tokens=4,
            output=str(output),
        )
        rows = pq.read_table(output / "samples.parquet").to_pylist()
        assert all(row["error"] is None for row in rows), rows
        assert rows[1]["prompt_tokens"] > 2 * 16  # two images of 16 patches
        texts.append([row["prediction"] for row in rows])
    assert texts[0] == texts[1]
