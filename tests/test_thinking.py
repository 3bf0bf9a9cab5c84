"""Guards against scoring what a model thinks aloud, by one rule before every metric."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.core import JSON, Completion, ConfigurationError, RequestKey, Sample
from muster.metrics import thinking as thinking_module
from muster.metrics.registry import build_metric
from muster.metrics.thinking import KNOWN_TAGS, Tags, Thinking, parse_thinking, split_lmms_eval
from muster.report.answer_warnings import answer_warnings
from muster.results.aggregation import TaskScores
from muster.results.answer_scoring import Answer, score_answer, score_record
from muster.results.journal_lines import Record
from muster.results.results import Results
from muster.results.samples_table import SampleTable
from muster.results.verdicts import VerdictBook
from muster.tasks.definition import Task
from muster.tasks.prompts import TemplatePrompt
from muster.tasks.scoring_variants import scored_by
from muster.tasks.sources.native import NativeSource

BOX: dict[str, JSON] = {"bbox": [10, 10, 50, 50], "width": 1000, "height": 1000}
METRICS = [
    ("exact_match", Sample("1", "q", answers=("42",)), "17", "42"),
    ("contains", Sample("1", "q", answers=("42",)), "17", "42"),
    ("anls", Sample("1", "q", answers=("forty two",)), "maybe seventeen or so", "forty two"),
    ("vqa_accuracy", Sample("1", "q", answers=("42",) * 10), "17", "42"),
    ("relaxed_accuracy", Sample("1", "q", answers=("42",)), "17", "42"),
    ("ocrbench", Sample("1", "q", answers=("42",)), "17", "42"),
    ("multiple_choice", Sample("1", "q", choices=("cat", "dog"), answers=("B",)), "The answer is A.", "dog"),
    ("mmmu", Sample("1", "q", choices=("cat", "dog"), answers=("B",)), "The answer is A.", "(B)"),
    ("mathvision", Sample("1", "q", answers=("42",)), "so \\boxed{17}", "\\boxed{42}"),
    ("yes_no", Sample("1", "q", answers=("yes",)), "No.", "Yes"),
    ("mme", Sample("1", "q", answers=("yes",), metadata={"group": "1", "category": "k"}), "No.", "Yes"),
    ("grounding", Sample("1", "q", metadata=BOX), "[0, 0, 2, 2]?", "[10, 10, 50, 50]"),
    ("dialogues", Sample("1", "q", answers=("42",)), "17", "42"),
]
PATTERNS = ["<think>{thought}</think>\n\n{answer}", "{thought} Hmm…\n</think>\n\n{answer}"]


def task_of(metric: str, tmp_path: Path, **parameters: str) -> Task:
    prompt = TemplatePrompt("{question}")
    return Task("t", 1, NativeSource(tmp_path / "none.jsonl"), prompt, build_metric(metric, dict(parameters)))


def scored(task: Task, sample: Sample, text: str) -> Answer:
    return score_answer(task, sample, 0, text, VerdictBook())


def accuracy(answer: Answer) -> float:
    assert answer.scored is not None, answer.problem
    scores = answer.scored.score.scores
    return scores.get("accuracy", scores.get("anls", -1.0))


@pytest.mark.parametrize(
    ("metric", "sample", "thought", "answer"), METRICS, ids=[each[0] for each in METRICS]
)
def test_every_metric_scores_what_follows_the_thought(
    metric: str, sample: Sample, thought: str, answer: str, tmp_path: Path
) -> None:
    parameters = {"group": "group", "category": "category"} if metric == "mme" else {}
    task = task_of(metric, tmp_path, **parameters)
    for pattern in PATTERNS:
        found = scored(task, sample, pattern.format(thought=thought, answer=answer))
        assert accuracy(found) == accuracy(scored(task, sample, answer)) > 0, pattern
        assert found.split is not None
        assert found.split.answer == answer


@pytest.mark.parametrize(
    "text",
    [
        "<think>17?</think><ANSWER>42</ANSWER>",
        "<think>17?</think>\n<final_answer>\n42\n</final_answer>",
        "<SUMMARY>s</SUMMARY><REASONING>17?</REASONING><CONCLUSION>42</CONCLUSION>",
        "Here are my reasoning steps:\n17?\n[BEGIN FINAL RESPONSE]\n42\n[END FINAL RESPONSE]\n<|end|>",
        "<unused94>thought\n17?<unused95>42",
    ],
)
def test_what_stands_around_an_answer_is_none_of_it(text: str) -> None:
    assert Thinking().split(text).answer == "42"


@pytest.mark.parametrize("tags", [tags for tags in KNOWN_TAGS if tags.opening], ids=str)
def test_every_known_form(tags: tuple[str, str]) -> None:
    opening, closing = tags
    thinking = Thinking()
    assert thinking.split(f"{opening}A or B?{closing}\n\nB").answer == "B"
    assert thinking.split(f"A or B?{closing}B").answer == "B", "the opening tag may be in the prompt"
    assert thinking.split(f"{opening}A{closing} no {opening}C{closing} B").answer == "B", (
        "the last end counts"
    )
    assert thinking.split(f"{opening}A or B").finished is False
    assert thinking.split(f"{opening}A{closing} wait {opening}C").finished is False
    assert thinking.split(f"{opening}only this{closing}\n").finished is False, "there is no answer"
    assert thinking.split(f"{opening}I could write {opening} here{closing}B").answer == "B"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>x</think><answer>\nB\n</answer>", "B"),
        ("<think>x</think>\n<|begin_of_solution|>B<|end_of_solution|>", "B"),
        (
            "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>B<|return|>",
            "B",
        ),
        ("analysisWe need C.assistantfinalB", "B"),
        ("<THINK>x</THINK>B", "B"),
        ("<think></think>", ""),
        ("", ""),
        ("  a text as it came \n", "  a text as it came \n"),
        ("<p>no thought</p>", "<p>no thought</p>"),
    ],
)
def test_what_is_around_an_answer(text: str, answer: str) -> None:
    split = Thinking().split(text)
    assert (split.answer, split.finished) == (answer, True)


@given(
    st.lists(
        st.sampled_from(
            [text for tags in KNOWN_TAGS for text in tags] + ["<", "a", "ſ", "K", "İ", "◁", "B. "]
        )
        | st.text(max_size=3)
    ).map("".join),
    st.booleans(),
)
def test_a_text_that_is_taken_for_one_without_tags_has_none(text: str, upper: bool) -> None:
    thinking = Thinking((*KNOWN_TAGS, Tags("So:", "zo")))
    text = text.upper() if upper else text
    quick = any(finder.search(text) for finder in thinking._quick)
    assert quick == (thinking._any_tag.search(text) is not None)


def test_the_setting() -> None:
    own = parse_thinking(["<r>...</r>"])
    assert own.split("<r>A</r>B").answer == "B"
    assert own.split("<think>A</think>B").answer == "<think>A</think>B"
    assert parse_thinking(["none"]).split("<think>A</think>B").answer == "<think>A</think>B"
    assert parse_thinking(["auto", "<r>...</r>"]).split("<think>A</think>C<r>A</r>B").answer == "B"
    assert parse_thinking(["...</r>"]).split("A</r>B").answer == "B"
    for words in (["opened"], ["auto", "opened"], ["opened", "<think>...</think>"]):
        opened = parse_thinking(words)
        assert opened.split("Is it A?").finished is False, "the prompt has opened the thought"
        assert opened.split("Is it A?</think>B").answer == "B"
        assert opened.split("").finished is True
    for wrong in (["none", "opened"], ["<r>"], ["<r>..."], ["none", "auto"], []):
        with pytest.raises(ValueError, match=r"think|alone"):
            parse_thinking(wrong)


def test_toolkits_that_were_asked_for_keep_their_own_way(tmp_path: Path) -> None:
    sample = Sample("1", "q", answers=("42",))
    task = task_of("exact_match", tmp_path)
    text = "<think>17?</think>\n\n42"
    found = scored(scored_by(task, ["all"]), sample, text)
    assert accuracy(found) == 1
    by_variant = {name: outcome.score.scores["accuracy"] for name, outcome in found.also.items()}  # type: ignore[union-attr]
    assert by_variant == {"lmms-eval": 1.0, "vlmevalkit": 0.0, "internvl": 0.0}
    box, thought = Sample("1", "q", metadata=BOX), "<think>[0, 0, 2, 2]</think>[10, 10, 50, 50]"
    grounding = task_of("grounding", tmp_path)
    assert accuracy(scored(grounding, box, thought)) == 1, "the default is no toolkit that was asked for"
    assert accuracy(scored(scored_by(grounding, ["vlmevalkit"]), box, thought)) == 0
    assert split_lmms_eval("a <think>x</think> b <think>y").answer == "a  b <think>y"
    assert split_lmms_eval("x</think>y</think> b").answer == "b"


def test_an_unfinished_thought_is_a_kind_of_its_own(tmp_path: Path) -> None:
    """In the counts, in samples.parquet and in words: neither silently wrong nor an error."""
    task = task_of("multiple_choice", tmp_path)
    sample = Sample("1", "q", choices=("cat", "dog"), answers=("B",))
    said = [("<think>Is it B?", None), ("", "It is B"), ("B", "Is it A?"), ("<think>A</think> B", None)]
    answers = [
        score_record(
            task,
            sample,
            repeat,
            Record(Completion(RequestKey("t", "1", repeat), text, reasoning=reasoning), "w", 0.0, 1),
            VerdictBook(),
        )
        for repeat, (text, reasoning) in enumerate(said)
    ]
    scores = TaskScores(task, [sample], repeats=len(said))
    with SampleTable(tmp_path / "samples.parquet", ["accuracy"]) as table:
        table.add(answers, ["0"] * len(answers))
        for answer in answers:
            scores.add(answer)
    results = scores.results()
    assert results.answers.unfinished == 2
    assert (results.samples.succeeded, results.samples.errored) == (4, 0)
    assert results.metrics["accuracy"].value == 0.5
    rows = pq.read_table(tmp_path / "samples.parquet").to_pylist()
    assert [row["unfinished"] for row in rows] == [True, True, False, False]
    assert [row["final_answer"] for row in rows] == ["", "", "B", "B"]
    assert [row["reasoning"] for row in rows] == ["<think>Is it B?", "It is B", "Is it A?", "A"]
    assert rows[3]["prediction"] == "<think>A</think> B", "as it came"
    told = answer_warnings(Results(run="r", model="m", complete=True, tasks={"t": results}))
    assert len(told) == 1
    assert told[0].startswith("t: 2 of 4 answers are unfinished")


def test_signs_that_a_score_measures_something_else(tmp_path: Path) -> None:
    """Five of five answers cut at the token limit were 0.0000 without a word."""
    task = task_of("multiple_choice", tmp_path)
    samples = [
        Sample(str(number), "q", choices=("cat", "dog"), answers=("AB"[number % 2],)) for number in range(5)
    ]
    scores = TaskScores(task, samples)
    for sample in samples:
        completion = Completion(RequestKey("t", sample.id), "To answer this, I", finish_reason="length")
        scores.add(score_record(task, sample, 0, Record(completion, "w", 0.0, 1), VerdictBook()))
    results = scores.results()
    assert (results.answers.cut_off, results.answers.unread, results.answers.all_alike) == (
        5,
        5,
        "To answer this, I",
    )
    told = answer_warnings(Results(run="r", model="m", complete=True, tasks={"t": results}))
    assert [any(word in line for line in told) for word in ("cut off", "unreadable", "alike")] == [True] * 3


def test_the_setting_of_a_run_and_of_a_task_file(tmp_path: Path) -> None:
    from muster.config import load_config
    from muster.tasks.task_file import load_task_file

    given: dict[str, object] = {"model": "demo", "tasks": "digits"}
    assert load_config({**given, "thinking": "<r>...</r>,<s>...</s>"}, env={}).thinking == [
        "<r>...</r>",
        "<s>...</s>",
    ]
    with pytest.raises(ConfigurationError, match=r"--thinking: .*<think>"):
        load_config({**given, "thinking": "r"}, env={})
    (tmp_path / "d.jsonl").write_text(json.dumps({"id": "1", "question": "q", "answer": "B"}) + "\n")
    text = "name: mine\nsource: {file: d.jsonl}\nmetric: exact_match\nthinking: %s\n"
    file = tmp_path / "t.yaml"
    for yaml, tags in (("'<r>...</r>'", 1), ("none", 0), ("[auto, '<r>...</r>']", len(KNOWN_TAGS) + 1)):
        file.write_text(text % yaml)
        assert len(load_task_file(file)[0].thinking.tags) == tags
    file.write_text(text % "r")
    with pytest.raises(ConfigurationError, match=r"t.yaml:4: thinking: .*<think>"):
        load_task_file(file)


@pytest.mark.parametrize("thinking", [Thinking(), Thinking(()), parse_thinking(["auto", "opened"])], ids=str)
def test_a_text_that_comes_again_is_divided_as_the_first_time(
    thinking: Thinking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short ones are kept, a bounded number of them."""
    monkeypatch.setattr(thinking_module, "_MOST_RECURRING", 4)
    texts = ["B", "", " B ", "<think>A</think>B", "<think>A", "</think>", *map(str, range(8)), "x" * 100]
    first = [thinking.split(text) for text in texts]
    assert [thinking.split(text) for text in texts] == first
    assert first == [type(thinking)(thinking.tags, thinking.opened).split(text) for text in texts]
    assert len(thinking._recurring) == 4
