"""What makes scoring fast changes no score: each short way beside the long one, on many random answers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muster.core import Completion, Failure, Media, RequestKey, Sample, Usage
from muster.metrics.letters import muster as reader
from muster.metrics.letters.options import lettered
from muster.metrics.protocol import Metric, MetricInfo, Score, ScoredSample
from muster.metrics.registry import build_metric
from muster.metrics.thinking import Split
from muster.results import journal_read
from muster.results.answer_scoring import Answer, Problem, score_text
from muster.results.clusters import Clusters, cluster_ids
from muster.results.files import encode_json
from muster.results.journal import Journal, Record
from muster.results.journal_read import JournalReader
from muster.results.samples_table import SampleTable
from muster.results.scored_rows import ScoredRows
from muster.results.scoring_limits import watching, within_limits
from muster.results.statistics import estimate_metrics
from muster.results.verdicts import VerdictBook
from muster.tasks.samples import IMAGES, LATER_TURN, Samples

WORDS = (
    *(
        "the",
        "answer",
        "is",
        "A",
        "B",
        "C",
        "D",
        "(B)",
        "b.",
        "not",
        "No,",
        "wait,",
        "cat",
        "a dog",
        "option",
        "\n",
    ),
    *(
        "\\boxed{C}",
        "<answer>B</answer>",
        "or",
        "and",
        "**",
        "Final answer:",
        "A. cat",
        "B. dog",
        "C. red bicycle",
    ),
    *(
        "actually",
        "because",
        ". ",
        "I choose",
        "\u017f",
        "\u0130",
        "\u0131",
        "\u7b54\u6848\u662fB",
        "<think>",
        "E",
    ),
)
OPTIONS = ("cat", "dog", "a dog", "red bicycle", "A", "b", "the answer is b", "not", "", "K", "is")


def test_the_reader_of_letters_says_the_same_of_a_text_that_it_has_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is kept of a short text must not depend on the options that it was first seen with."""
    chance = random.Random(5)
    questions = [lettered(chance.sample(OPTIONS, chance.randint(0, 5))) for _ in range(50)]
    texts = [" ".join(chance.choices(WORDS, k=chance.choice([1, 1, 2, 3, 5, 9]))) for _ in range(100)]
    asked = [(chance.choice(texts), chance.choice(questions)) for _ in range(5000)]
    read = [reader.read_choice(text, options) for text, options in asked]
    assert len(set(read)) > 4
    monkeypatch.setattr(reader, "_RECURS", -1)
    assert read == [reader.read_choice(text, options) for text, options in asked]


@pytest.mark.parametrize("near", [0, 1 << 12])
def test_records_looked_up_together_are_those_looked_up_alone(
    near: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_read, "_GAP", near)
    monkeypatch.setattr(journal_read, "_BLOCK", 2000)
    chance = random.Random(1)
    keys = [
        RequestKey(task, f"q{number}", repeat) for task in "ab" for number in range(400) for repeat in (0, 1)
    ]
    with Journal.open(tmp_path / "journal.jsonl", "r1") as journal:
        for key in chance.choices(keys, k=2500):  # some twice or more, some never
            failed = chance.random() < 0.4
            failure = Failure("sample", "ValueError", "no") if failed else None
            text = None if failed else chance.choice(["A", "x" * 300, "\ud800"])
            journal.append(Record(Completion(key, text, failure), "w0", chance.random(), 1))
    with JournalReader(tmp_path / "journal.jsonl") as journal_reader:
        alone = [journal_reader.get(key) for key in keys]
        assert {record is None for record in alone} == {True, False}
        assert list(journal_reader.get_all(keys)) == alone
        assert list(journal_reader.get_all(keys[::-3])) == alone[::-3]
        assert list(journal_reader.get_all([])) == []


def made_up(chance: random.Random, count: int) -> list[Sample]:
    return [
        Sample(
            f"q{number}",
            "what?",
            choices=("cat", "dog", "bird", "none"),
            answers=(chance.choice("ABCD") if number % 2 else chance.choice(["yes", "no", "42"]),),
            metadata={"category": chance.choice(["x", "y"]), "index": number, "figure_id": str(number // 3)},
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    "name",
    ["multiple_choice", "exact_match", "number", "anls", "yes_no", "mmvp", "mme", "seedbench", "grounding"],
)
def test_rows_in_columns_have_the_scores_and_intervals_of_rows_as_objects(name: str) -> None:
    chance = random.Random(2)
    metric = build_metric(name)
    samples = made_up(chance, 500)
    if name == "grounding":
        samples = [replace(sample, metadata={"bbox": [10, 10, 50, 50]}) for sample in samples]
    held, rows = ScoredRows(Samples.of(samples)), []
    for number, sample in enumerate(samples):
        for repeat in range(2):
            if chance.random() < 0.9:
                said = chance.choice(["A", "B.", "yes", "no", "42", "", "[10, 10, 50, 40]"])
                score = metric.score(sample, said)
                held.append(number, repeat, score)
                rows.append(ScoredSample(sample, "", score, repeat))
    assert list(held) == rows
    by_number = estimate_metrics(metric, held, Clusters(held.samples).among(held.numbers))
    assert by_number == estimate_metrics(metric, rows, cluster_ids(rows))
    assert any(estimate.ci95 for estimate in by_number.values())
    places = sorted(chance.sample(range(len(rows)), 200))
    part, same = held.chosen(places), [rows[place] for place in places]
    assert estimate_metrics(metric, part, Clusters(part.samples).among(part.numbers)) == estimate_metrics(
        metric, same, cluster_ids(same)
    )


def test_clusters_among_some_samples_are_those_of_these_samples_alone() -> None:
    """Random chains of shared images and dialogues, told by name and by number."""
    chance = random.Random(4)
    for _ in range(200):
        samples: list[Sample] = []
        for number in range(12):
            shown = tuple(
                Media("image", path=f"/nowhere/{chance.randrange(9)}.png")
                for _ in range(chance.choice([0, 0, 1, 2]))
            )
            before = chance.choice([None, None, *samples[-2:]])
            samples.append(Sample(f"q{number}", "?", shown, previous=before))
        clusters = Clusters(Samples(samples))
        some = sorted(chance.sample(range(12), 7))
        by_name = cluster_ids([ScoredSample(samples[number], "", Score({})) for number in some])
        by_number = list(clusters.among(some))
        assert [by_name.index(name) for name in by_name] == [by_number.index(each) for each in by_number]
        assert by_name == by_joining([samples[number] for number in some])
        cluster_of = clusters.names()
        assert [cluster_of(sample) for sample in samples] == by_joining(samples)


def by_joining(samples: Sequence[Sample]) -> list[str]:
    """Names of clusters in the plainest way: groups that have something in common become one, until none have."""
    groups = [
        (
            [sample.dialogue[0].id, sample.id],
            {each.path for turn in (sample.dialogue[0], sample) for each in turn.images},
        )
        for sample in samples
    ]
    joined = True
    while joined:
        joined = False
        for number, (ids, shown) in enumerate(groups):
            for other in range(len(groups) - 1, number, -1):
                if set(ids) & set(groups[other][0]) or shown & groups[other][1]:
                    ids += groups[other][0]
                    shown |= groups.pop(other)[1]
                    joined = True
    return [f"sample:{next(ids[0] for ids, _ in groups if sample.id in ids)}" for sample in samples]


def test_the_table_written_by_columns_has_the_rows_written_one_by_one(tmp_path: Path) -> None:
    chance = random.Random(3)
    answers = [an_answer(chance, number) for number in range(700)]
    table = SampleTable(
        tmp_path / "by_columns.parquet", ["accuracy", "iou"], {"lmms-eval": ["accuracy"], "x": []}
    )
    with table:
        for start in range(0, 700, 90):
            some = answers[start : start + 90]
            table.add(some, [f"sample:{answer.sample.id}" for answer in some])
    written = pq.read_table(tmp_path / "by_columns.parquet")
    expected = [a_row(answer) for answer in answers]
    assert written.to_pylist() == pa.Table.from_pylist(expected, schema=written.schema).to_pylist()
    assert written.column("scores").null_count not in (0, 700)
    assert written.column("scores[x]").null_count == 700


def an_answer(chance: random.Random, number: int) -> Answer:
    images = (Media("image", path="/a.png"), Media("image", path="/b.png"))[: chance.randint(0, 2)]
    choices = tuple(chance.sample(["cat", "\ud800", "", "dog"], chance.randint(0, 4)))
    sample = Sample(
        f"q{number}", "?\udfff", images, choices=choices, answers=("A",)[: number % 2], metadata={"a": 1}
    )

    def outcome() -> ScoredSample | Problem:
        if chance.random() < 0.2:
            return Problem(chance.choice(["metric", "no reference", "missing"]), "why")
        values = {"accuracy": chance.choice([0.0, 1, float("nan"), float("inf")]), "other": 1.0}
        return ScoredSample(sample, "x", Score(values, chance.choice([None, "B"])), 0)

    record = split = None
    if chance.random() < 0.8:
        usage = Usage(chance.choice([None, 7]), chance.choice([None, 8]))
        completion = Completion(
            RequestKey("t", sample.id), "B", usage=usage, seconds=chance.choice([None, 0.1]), note="n"
        )
        record = Record(completion, "w0", 1.0, 1)
        split = Split("B", chance.choice(["", "hm"]), finished=chance.random() < 0.5)
    also = {variant: outcome() for variant in ("lmms-eval", "x") if chance.random() < 0.8}
    return Answer("t", sample, number % 3, outcome(), also, record, split)


def a_row(answer: Answer) -> dict[str, object]:
    """As text and numbers that parquet holds."""
    sample, record, problem = answer.sample, answer.record, answer.problem
    if problem is not None and problem.kind == "no reference":
        problem = None
    completion = record.completion if record else None

    def valid(text: str) -> str:
        return text.replace("\ud800", "\ufffd").replace("\udfff", "\ufffd")

    def scores(outcome: object, names: Sequence[str]) -> dict[str, float | None] | None:
        if not isinstance(outcome, ScoredSample) or not names:
            return None
        found = {name: outcome.score.scores.get(name) for name in names}
        return {n: None if v is None or v != v or v == float("inf") else v for n, v in found.items()}

    row: dict[str, object] = {
        "task": "t",
        "id": sample.id,
        "repeat": answer.repeat,
        "question": valid(sample.question),
        "choices": [valid(choice) for choice in sample.choices],
        "answers": list(sample.answers),
        "prediction": completion.text if completion else None,
        "final_answer": answer.split.answer if answer.split else None,
        "reasoning": (answer.split.thought or None) if answer.split else None,
        "unfinished": answer.unfinished if answer.split else None,
        "prompt_tokens": completion.usage.prompt_tokens if completion else None,
        "tokens": completion.usage.completion_tokens if completion else None,
        "seconds": completion.seconds if completion else None,
        "worker": record.worker if record else None,
        "note": completion.note if completion else None,
        "error": f"{problem.kind}: {problem.message}" if problem else None,
        "error_kind": problem.kind if problem else None,
        "cluster": f"sample:{sample.id}",
        "metadata": encode_json(dict(sample.metadata)).decode(),
        "media": [image.identity for image in sample.images],
    }
    for suffix, outcome, names in (
        ("", answer.outcome, ("accuracy", "iou")),
        ("[lmms-eval]", answer.also.get("lmms-eval"), ("accuracy",)),
        ("[x]", answer.also.get("x"), ()),
    ):
        row[f"extracted{suffix}"] = outcome.score.extracted if isinstance(outcome, ScoredSample) else None
        row[f"scores{suffix}"] = scores(outcome, names)
    return row


@dataclass
class Loops:
    """Never ends on some answers; `catches` its own interruption once."""

    info: MetricInfo = field(default_factory=lambda: build_metric("exact_match").info)
    catches: bool = False

    def score(self, sample: Sample, prediction: str) -> Score:
        while prediction == "loop":
            try:
                time.process_time()
            except Exception:
                if not self.catches:
                    raise
                self.catches = False
        return Score({"accuracy": 1.0})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        return {}


def outcome_of(metric: Metric, text: str) -> ScoredSample | Problem:
    return score_text(metric, Sample("1", "?", answers=("1",)), 0, text, VerdictBook())


@pytest.mark.parametrize("catches", [False, True])
def test_one_timer_over_many_answers_stops_each_that_takes_too_long(catches: bool) -> None:
    """Neither its neighbours, nor what is done between two answers."""
    with watching(0.05):
        outcomes = [outcome_of(Loops(catches=catches), text) for text in ("a", "loop", "b", "loop", "c")]
        busy_until = time.process_time() + 0.3
        while time.process_time() < busy_until:
            pass
        with within_limits("a", 1000.0):
            pass
    assert [isinstance(outcome, Problem) for outcome in outcomes] == [False, True, False, True, False]
    assert isinstance(outcomes[1], Problem)
    assert outcomes[1].kind == "metric"
    assert "more than 0.05 s of processor time" in outcomes[1].message


def test_the_timer_is_gone_afterwards_and_other_threads_have_none() -> None:
    import signal

    before = signal.getsignal(signal.SIGVTALRM)
    with watching(), watching():
        assert signal.getitimer(signal.ITIMER_VIRTUAL)[1] > 0
        outcomes: list[object] = []
        thread = threading.Thread(target=lambda: outcomes.append(outcome_of(Loops(), "a")))
        thread.start()
        thread.join()
        assert isinstance(outcomes[0], ScoredSample)
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGVTALRM) is before


def test_traits_are_known_however_samples_were_put_together() -> None:
    shown = Sample("a", "?", images=(Media("image", path="/a.png"),))
    plain = Sample("b", "?")
    samples = Samples([plain, shown, replace(plain, id="c", previous=plain)])
    assert samples.any_have(IMAGES)
    assert samples.any_have(LATER_TURN)
    assert not samples[:1].any_have(IMAGES)
    assert samples.chosen([1]).any_have(IMAGES)
    assert not samples.chosen([1]).any_have(LATER_TURN)
    assert not Samples().any_have(IMAGES | LATER_TURN)
